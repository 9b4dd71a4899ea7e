// SPDX-License-Identifier: GPL-2.0
// Names that must not be those of the kernel's own ext4, which may be loaded as well.
// "expect" and "removes" are explained in hooks.cocci.

// The file system, here and in /sys/fs and /proc/fs.
// expect ext4_hmm_begin( 1
@begin@
@@
 ext4_init_fs(...)
 {
 ...
 ext4_check_flag_values();
+err = ext4_hmm_begin();
+if (err)
+	return err;
 ...
 }

// Nor is it ext2 or ext3.
// expect ext4_hmm_register( 1
@fs_register@
symbol ext4_fs_type, err;
@@
 ext4_init_fs(...)
 {
 ...
-register_as_ext3();
-register_as_ext2();
-err = register_filesystem(&ext4_fs_type);
+err = ext4_hmm_register(&ext4_fs_type);
 <...
-unregister_as_ext2();
-unregister_as_ext3();
 ...>
 }

// expect ext4_hmm_unregister( 1
@fs_unregister@
symbol ext4_fs_type;
@@
 ext4_exit_fs(...)
 {
 ...
-unregister_as_ext2();
-unregister_as_ext3();
-unregister_filesystem(&ext4_fs_type);
+ext4_hmm_unregister(&ext4_fs_type);
 ...
 }

// expect ext4_hmm_name( 1
@sysfs@
@@
-kobject_create_and_add("ext4", fs_kobj)
+kobject_create_and_add(ext4_hmm_name(), fs_kobj)

// expect ext4_hmm_proc_name( 2
@proc@
symbol proc_dirname;
expression e;
@@
(
-proc_mkdir(proc_dirname, e)
+proc_mkdir(ext4_hmm_proc_name(), e)
|
-remove_proc_entry(proc_dirname, e)
+remove_proc_entry(ext4_hmm_proc_name(), e)
)

// removes proc_dirname 3
@proc_name depends on proc@
symbol proc_dirname;
@@
-static const char proc_dirname[] = "fs/ext4";

// expect MODULE_ALIAS_FS("ext4_hmm") 1
@alias@
declarer name MODULE_ALIAS_FS;
@@
-MODULE_ALIAS_FS("ext4");
+MODULE_ALIAS_FS("ext4_hmm");

// removes ("ext2"); 2
// removes ("ext3"); 2
@other_aliases@
declarer name MODULE_ALIAS_FS, MODULE_ALIAS;
@@
(
-MODULE_ALIAS_FS("ext2");
|
-MODULE_ALIAS("ext2");
|
-MODULE_ALIAS_FS("ext3");
|
-MODULE_ALIAS("ext3");
)

// expect MODULE_DESCRIPTION("ext4 whose 1
@description@
declarer name MODULE_DESCRIPTION;
@@
-MODULE_DESCRIPTION("Fourth Extended Filesystem");
+MODULE_DESCRIPTION("ext4 whose pages may be on a device");

// Slab caches.
// expect EXT4_HMM_CACHE( for each KMEM_CACHE(
@cache@
identifier s;
expression e;
@@
-KMEM_CACHE(s, e)
+EXT4_HMM_CACHE(s, e)

// expect EXT4_HMM_NAME( 9
@cache_name@
constant char [] s =~ "ext4_inode_cache|ext4_groupinfo_";
@@
-s
+EXT4_HMM_NAME(s)

// Tracepoints: "prepare" makes this header, whose TRACE_SYSTEM is ext4_hmm.
// expect #include <trace/events/ext4_hmm.h> for each #include <trace/events/ext4.h>
@trace@
@@
-#include <trace/events/ext4.h>
+#include <trace/events/ext4_hmm.h>
