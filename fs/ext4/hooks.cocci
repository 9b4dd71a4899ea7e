// SPDX-License-Identifier: GPL-2.0
// Where ext4 has to tell that pages of a file may be on a device.
//
// What each hook is for is said at the function that it calls, in hmm.h.  What a rule leaves
// is said in front of it, as one that does not match is silent:
//
//	expect TEXT COUNT [if PATTERN]	inserts it so often, and never if PATTERN is nowhere
//	expect TEXT for each OLD	inserts it as often as there was OLD, which is not never
//	removes TEXT COUNT		there was so much of it, and nothing is left
//
// "prepare" refuses a rule without a name, or without one of these, and a kernel where one of
// them does not hold: somebody has to look at what has changed.

// expect ext4_hmm_read( 1
@h1@
identifier file, folio, inode;
@@
 ext4_read_folio(struct file *file, struct folio *folio)
 {
 ...
 trace_ext4_read_folio(inode, folio);
+if (ext4_hmm_read(folio))
+	return 0;
 ...
 }

// expect ext4_hmm_write_begin( 1
@h2@
identifier folio, head;
@@
 ext4_block_write_begin(..., struct folio *folio, ...)
 {
 <...
+if (ext4_hmm_write_begin(folio))
+	return -EIO;
 head = folio_buffers(folio);
 ...>
 }

// The function has another name, and other arguments, since 7.1 or so.
// expect ext4_hmm_zero( 1
@h3@
identifier fn = {__ext4_block_zero_page_range, ext4_load_tail_bh};
identifier bh;
expression folio;
@@
 fn(...)
 {
 <...
+ext4_hmm_zero(folio);
 bh = folio_buffers(folio);
 ...>
 }

// expect ext4_hmm_move_extent( 2
@h4@
identifier folio;
@@
 mext_folio_double_lock(..., struct folio *folio[2])
 {
 ...
 folio_wait_writeback(folio[1]);
+ext4_hmm_move_extent(folio[0]);
+ext4_hmm_move_extent(folio[1]);
 ...
 }

// expect ext4_hmm_writeback( 1
@h5@
expression err, io, folio, len;
@@
 mpage_submit_folio(...)
 {
 ...
+ext4_hmm_writeback(folio, len);
 err = ext4_bio_write_folio(io, folio, len);
 ...
 }

// expect ext4_hmm_invalidate( 1
@h6@
identifier folio, offset, length;
@@
 ext4_invalidate_folio(struct folio *folio, size_t offset, size_t length)
 {
 ...
+ext4_hmm_invalidate(folio, offset, length);
 block_invalidate_folio(folio, offset, length);
 }

// expect ext4_hmm_discard( 1
@h7@
expression folio;
@@
 mpage_release_unused_pages(...)
 {
 <...
+ext4_hmm_discard(folio);
 block_invalidate_folio(folio, 0, folio_size(folio));
 ...>
 }

// expect ext4_hmm_release( 1
@h8@
identifier folio, gfp;
statement S;
@@
 ext4_release_folio(struct folio *folio, gfp_t gfp)
 {
 ...
+if (!ext4_hmm_release(folio, gfp))
+	return false;
 if (folio_test_checked(folio)) S
 ...
 }

// expect ext4_hmm_page_mkwrite 1
@h9@
symbol ext4_file_vm_ops, ext4_page_mkwrite;
@@
 const struct vm_operations_struct ext4_file_vm_ops = {
-.page_mkwrite = ext4_page_mkwrite,
+.page_mkwrite = ext4_hmm_page_mkwrite,
 };

// expect ext4_hmm_is_partially_uptodate 2
@h10@
identifier ops = {ext4_aops, ext4_da_aops};
symbol block_is_partially_uptodate;
@@
 const struct address_space_operations ops = {
-.is_partially_uptodate = block_is_partially_uptodate,
+.is_partially_uptodate = ext4_hmm_is_partially_uptodate,
 };

// expect ext4_hmm_swap_activate( 1
@h11@
identifier sis, file, span;
@@
 ext4_iomap_swap_activate(struct swap_info_struct *sis, struct file *file, sector_t *span)
 {
+ext4_hmm_swap_activate(file);
 ...
 }

// expect ext4_hmm_journal_data( 1
@h12@
identifier inode, val;
@@
 ext4_change_inode_journal_flag(struct inode *inode, int val)
 {
 <...
+ext4_hmm_journal_data(inode);
 inode_dio_wait(inode);
 ...>
 }

// expect ext4_hmm_clear_inode( 1
@h13@
identifier inode;
@@
 ext4_clear_inode(struct inode *inode)
 {
+ext4_hmm_clear_inode(inode);
 ...
 }

// What the library keeps of an inode.
// expect struct hmm_pagecache *i_hmm; 1
@member@
@@
 struct ext4_inode_info {
 ...
+struct hmm_pagecache *i_hmm;
 };

// expect ei->i_hmm = NULL; 1
@init@
identifier ei;
@@
 ext4_alloc_inode(...)
 {
 ...
 ei->i_flags = 0;
+ei->i_hmm = NULL;
 ...
 }

// Pages move one by one: files that devices use have folios of one page.
// expect ext4_hmm_max_order( 1 if folio_order|large_folio
@order@
identifier inode;
expression mapping, min, max;
@@
 ext4_set_inode_mapping_order(struct inode *inode)
 {
 <...
-mapping_set_folio_order_range(mapping, min, max);
+mapping_set_folio_order_range(mapping, min, ext4_hmm_max_order(inode, max));
 ...>
 }

// So a block is not larger than a page.
// expect ext4_hmm_check( 1 if folio_order|large_folio
@check@
identifier sb;
@@
 ext4_check_large_folio(struct super_block *sb)
 {
+if (ext4_hmm_check(sb))
+	return -EINVAL;
 ...
 }
