// SPDX-License-Identifier: GPL-2.0
/*
 * fs/ext4/prepare refuses an ext4 that one of its rules does not fit, and says which: a hook
 * that is not there is a file that loses data, and nothing else tells.
 *
 * Copies of the ext4 of each kernel have the anchors of some rules taken away, of half of them
 * in one, of the others in another: just these are named.  So it is with copies of the rules.
 * Sources are those that guest kernels were built of ($HMM_CACHE); nothing is fetched.
 */
#include <stdint.h>
#include "scratch.h"
#include "tap.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* What belongs to a function, in sed. */
#define IN(begin, command)	"/^" begin "/,/^}/" command

/*
 * For each rule a sed script that takes away what it looks for, as if the kernel had given it
 * another name.  Rules with the same anchor are one entry.
 */
static const struct anchor {
	unsigned int since;	/* first major version that has it */
	const char *rules, *sed;
} anchors[] = {
	{ 6, "h1", "s/trace_ext4_read_folio/other/" },
	{ 6, "h2", IN("int ext4_block_write_begin", "s/head = folio_buffers/head = other/") },
	{ 6, "h3", "s/\\tbh = folio_buffers/\\tbh = other/" },
	{ 6, "h4", "s/folio_wait_writeback(folio\\[1\\])/other(folio)/" },
	{ 6, "h5", "s/err = ext4_bio_write_folio/err = other/" },
	{ 6, "h6", IN("static void ext4_invalidate_folio", "s/block_invalidate_folio/other/") },
	{ 6, "h7", IN("static void mpage_release_unused_pages",
		   "s/block_invalidate_folio/other/") },
	{ 6, "h8", IN("static bool ext4_release_folio", "s/folio_test_checked/other/") },
	{ 6, "h9", IN("static const struct vm_operations_struct", "s/ext4_page_mkwrite/other/") },
	{ 6, "h10", "s/= block_is_partially_uptodate/= other/" },
	{ 6, "h11", "s/ext4_iomap_swap_activate/other/" },
	{ 6, "h12", IN("int ext4_change_inode_journal_flag", "s/inode_dio_wait/other/") },
	{ 6, "h13", "s/^void ext4_clear_inode/void other/" },
	{ 6, "member", "s/^struct ext4_inode_info {/struct other {/" },
	{ 6, "init", "s/ei->i_flags = 0/ei->other = 0/" },
	{ 7, "order", "s/mapping_set_folio_order_range/other/" },
	{ 7, "check", "s/^static int ext4_check_large_folio/static int other/" },
	{ 6, "begin", "s/ext4_check_flag_values/other/" },
	{ 6, "fs_register", "s/err = register_filesystem/err = other/" },
	{ 6, "fs_unregister", IN("static void __exit ext4_exit_fs",
			      "s/unregister_filesystem/other/") },
	{ 6, "sysfs", "s/kobject_create_and_add(\"ext4\"/other(\"ext4\"/" },
	{ 6, "proc proc_name", "s/proc_dirname/other/" },
	{ 6, "alias", "s/MODULE_ALIAS_FS(\"ext4\")/MODULE_ALIAS_FS(\"other\")/" },
	{ 6, "other_aliases", "s/MODULE_ALIAS(\"ext3\")/MODULE_ALIAS(\"other\")/" },
	{ 6, "description", "s/Fourth Extended Filesystem/Other/" },
	{ 6, "cache", "s/KMEM_CACHE(/OTHER(/" },
	{ 6, "cache_name", "s/\"ext4_inode_cache\"/\"other\"/" },
	{ 6, "trace", "s/<trace.events.ext4.h>/<trace\\/events\\/other.h>/" },
};

/* All that rules fit to is there; to patch less is faster. */
#define FILES "ext4.h file.c inode.c mballoc.c move_extent.c readpage.c super.c sysfs.c"

static char rules_dir[PATH_MAX + 32], cache[PATH_MAX], text[1 << 16];

/* ---- directories that prepare is run in, all at once ---- */

static struct run {
	char name[32];
	char expected[512];	/* names of rules, each with a space in front */
	const char *said;	/* of the rules themselves */
} runs[16];
static unsigned int nruns;

/* A directory with the rules, an ext4, and what a kernel's build directory says. */
static struct run *run_new(const char *source, const unsigned int *version, const char *what)
{
	struct run *run = &runs[nruns++];

	snprintf(run->name, sizeof(run->name), "%u.%u-%s", version[0], version[1], what);
	EXPECT(!sh("set -e; mkdir %s; cd %s; cp -r %s rules\n"
		   "mkdir -p kernel/include/config kernel/include/generated/uapi/linux\n"
		   "printf 'CONFIG_JBD2=y\\nCONFIG_BUFFER_HEAD=y\\n'"
		   " >kernel/include/config/auto.conf\n"
		   "printf '#define LINUX_VERSION_%%s\\n' 'MAJOR %u' 'PATCHLEVEL %u'"
		   " 'SUBLEVEL %u' >kernel/include/generated/uapi/linux/version.h\n"
		   "mkdir -p source/fs/ext4 source/include/trace/events\n"
		   "cp %s/Makefile source; cd %s/fs/ext4; cp Makefile " FILES
		   " \"$OLDPWD\"/source/fs/ext4; cd - >/dev/null\n"
		   "cp %s/include/trace/events/ext4.h source/include/trace/events",
		   run->name, run->name, rules_dir, version[0], version[1], version[2],
		   source, source, source), "%s: cannot be made", run->name);
	return run;
}

/* No cache: what is refused here is no kernel's. */
static void run_all(void)
{
	EXPECT(!sh("for dir in [0-9]*; do (cd $dir\n"
		   "timeout 250 env -u HMM_CACHE rules/prepare kernel out source >log 2>&1\n"
		   "echo $? >status) & done; wait"), "");
}

static bool has_word(const char *words, const char *word)
{
	const size_t length = strlen(word);

	for (const char *at = words; (at = strstr(at, word)); at++)
		if ((at == words || at[-1] == ' ') && (!at[length] || at[length] == ' '))
			return true;
	return false;
}

static void add_words(char *words, size_t size, const char *more)
{
	const size_t used = strlen(words);

	snprintf(words + used, size - used, " %s", more);
}

/* It has failed, and named these rules and no others. */
static void run_check(const struct run *run)
{
	char name[64], word[64], named[512] = "", *save;

	snprintf(name, sizeof(name), "%s/status", run->name);
	slurp_into(name, text, sizeof(text));
	EXPECT(!strcmp(text, "1\n"), "%s: exit status %s", run->name, text);
	EXPECT(sh("[ -e %s/out/Makefile.ext4 ]", run->name), "%s: there is a module", run->name);
	snprintf(name, sizeof(name), "%s/log", run->name);
	slurp_into(name, text, sizeof(text));
	if (run->said) {
		EXPECT(strstr(text, run->said), "%s: no \"%s\" in:\n%s", run->name, run->said,
		       text);
		return;
	}
	for (char *at = text; (at = strstr(at, "  rule ")); at++) {
		if (sscanf(at, " rule %63[a-z0-9_]", word) == 1 && !has_word(named, word))
			add_words(named, sizeof(named), word);
	}
	for (char *rule = strtok_r(strdupa(run->expected), " ", &save); rule;
	     rule = strtok_r(NULL, " ", &save))
		EXPECT(has_word(named, rule), "%s: %s is not named in:\n%s", run->name, rule,
		       text);
	for (char *rule = strtok_r(named, " ", &save); rule; rule = strtok_r(NULL, " ", &save))
		EXPECT(has_word(run->expected, rule), "%s: %s fits, but:\n%s", run->name, rule,
		       text);
}

/* ---- the tests ---- */

/* Rules of which no anchor is known are not tested here. */
static void test_complete(void)
{
	tap_begin("each rule has an anchor here");
	EXPECT(!sh("sed -nE 's/^@([a-z0-9_]+).*/\\1/p' %s/*.cocci >rules", rules_dir), "");
	slurp_into("rules", text, sizeof(text));
	EXPECT(strchr(text, '\n'), "no rules in %s", rules_dir);
	for (char *save, *rule = strtok_r(text, "\n", &save); rule;
	     rule = strtok_r(NULL, "\n", &save)) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_SIZE(anchors); i++)
			known |= has_word(anchors[i].rules, rule);
		EXPECT(known, "%s", rule);
	}
	tap_end();
}

/* Half of the anchors are missing; and a rule is new that fits nowhere. */
static void make_halves(const char *source, const unsigned int *version)
{
	static const char *const halves[] = { "even", "odd" };

	for (size_t half = 0; half < 2; half++) {
		struct run *run = run_new(source, version, halves[half]);

		for (size_t i = half; i < ARRAY_SIZE(anchors); i += 2) {
			if (version[0] < anchors[i].since)
				continue;
			EXPECT(!sh("cd %s/source/fs/ext4; cat *.[ch] >../before\n"
				   "sed -i '%s' *.[ch]; cat *.[ch] | { ! cmp -s - ../before; }",
				   run->name, anchors[i].sed), "%s: no anchor of %s",
			       run->name, anchors[i].rules);
			add_words(run->expected, sizeof(run->expected), anchors[i].rules);
		}
		if (half)
			continue;
		EXPECT(!sh("printf '\\n// expect ext4_hmm_new( 1\\n@new@\\n@@\\n"
			   "-ext4_not_there();\\n+ext4_hmm_new();\\n' >>%s/rules/hooks.cocci",
			   run->name), "");
		add_words(run->expected, sizeof(run->expected), "new");
	}
}

/* Rules that nothing can be said of are refused before anything is patched. */
static void make_incomplete(const char *source, const unsigned int *version)
{
	static const struct {
		const char *what, *sed, *said;
	} cases[] = {
		{ "no-name", "s/^@proc_name /@/", "has no name: @depends on proc@" },
		{ "unnamed", "s/^@other_aliases@/@@/", "has no name: @@" },
		{ "silent", "/^.. removes proc_dirname/d",
		  "rule proc_name in names.cocci does not say" },
		{ "none", "s/^\\(.. expect ext4_hmm_begin(\\) 1/\\1 0/",
		  "rule begin in names.cocci: what is" },
		{ "some", "s/^\\(.. expect ext4_hmm_begin(\\) 1/\\1 +/",
		  "rule begin in names.cocci: what is" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct run *run = run_new(source, version, cases[i].what);

		EXPECT(!sh("sed -i '%s' %s/rules/names.cocci", cases[i].sed, run->name), "");
		run->said = cases[i].said;
	}
}

/* The directory of a source that is there. */
static bool find_source(const char *kernel, char *path, size_t size, unsigned int *version)
{
	char name[PATH_MAX + 64];

	snprintf(name, sizeof(name), "%s/sources/%s.current", cache, kernel);
	if (!slurp_into(name, text, sizeof(text)))
		return false;
	snprintf(path, size, "%s/sources/%.*s", cache, (int)strcspn(text, "\n"), text);
	if (sh("sed -nE 's/^(VERSION|PATCHLEVEL|SUBLEVEL) = //p' %s/Makefile >version 2>/dev/null"
	       " && [ -e %s/fs/ext4/inode.c ]", path, path))
		return false;
	slurp_into("version", text, sizeof(text));
	return sscanf(text, "%u %u %u", &version[0], &version[1], &version[2]) == 3;
}

static void test_kernels(void)
{
	static const char *const kernels[] = { "6.12", "7.2" };
	static const char title[] = "a rule that does not fit is named, and there is no module";
	char source[PATH_MAX + 128];
	unsigned int version[3];

	if (sh("command -v spatch >/dev/null")) {
		tap_skip("there is no spatch", title);
		return;
	}
	tap_begin(title);
	for (size_t i = 0; i < ARRAY_SIZE(kernels); i++) {
		if (!find_source(kernels[i], source, sizeof(source), version)) {
			printf("# no source of Linux %s in %s\n", kernels[i], cache);
			continue;
		}
		if (!nruns)
			make_incomplete(source, version);
		make_halves(source, version);
	}
	if (!nruns) {
		tap_skip("no kernel's source is there", title);
		return;
	}
	run_all();
	for (unsigned int i = 0; i < nruns; i++)
		run_check(&runs[i]);
	tap_end();
}

int main(int argc, char **argv)
{
	const char *dir = getenv("HMM_CACHE"), *home = getenv("XDG_CACHE_HOME");

	(void)argc;
	if (!scratch_begin(argv[0]))
		return 1;
	snprintf(rules_dir, sizeof(rules_dir), "%s/../../../fs/ext4", here);
	if (dir)
		snprintf(cache, sizeof(cache), "%s", dir);
	else if (home)
		snprintf(cache, sizeof(cache), "%s/hmm-mirror", home);
	else
		snprintf(cache, sizeof(cache), "%s/.cache/hmm-mirror", getenv("HOME") ?: "");
	test_complete();
	test_kernels();
	scratch_end();
	return tap_done();
}
