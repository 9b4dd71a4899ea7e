# SPDX-License-Identifier: GPL-2.0
# The parts of scripts/check that look at symbols. Needs lib.sh and files().

# Directory, and the prefixes of what it may define globally.
prefix_table() {
	cat <<-'END'
	hmm                 hmm_device_ hmm_mirror_ hmm_block_ hmm_mm_ hmm_fault_ hmm_debugfs_ hmm_call_ hmm_policy_ hmm_notes_ hmm_exclusive_
	mmu_notifier_ctx    hmm_event_
	rmem                hmm_rmem_ hmm_pagecache_
	swap_entry          hmm_swp_
	drivers/dummy_gpu   dgpu_
	END
}

# Global symbols that an object defines, without what macros of the kernel add:
# module entry points, tracepoints, exports, static calls.
global_symbols() {
	nm --defined-only --extern-only --format=posix "$1" |
		awk '{ print $1 }' |
		grep -vE '^(init_module|cleanup_module|__this_module|__pfx_|__cfi_)' |
		grep -vE '^(__tracepoint_|__traceiter_|__probestub_|__SCK__|__SCT__)' |
		grep -vE '^(__ksymtab_|__srcu_struct_|__crc_|__export_symbol_|__mod_|__UNIQUE_ID_)'
}

check_prefixes() {
	local out dir prefixes object symbol prefix bad=0 count=0 fits

	out=$("$TOP/scripts/modules" --quiet) || return
	while read -r dir prefixes; do
		[ -d "$out/$dir" ] || continue
		for object in $(find "$out/$dir" -name '*.o' ! -name '*.mod.o' |
				sort); do
			# Only single objects: there is a source next to them.
			[ -e "${object%.o}.c" ] || continue
			for symbol in $(global_symbols "$object"); do
				count=$((count + 1))
				fits=
				for prefix in $prefixes; do
					case $symbol in "$prefix"* | "__$prefix"*) fits=1 ;; esac
				done
				[ -n "$fits" ] || {
					echo "${object#"$out/"}: $symbol" \
						"(expected: $prefixes)"
					bad=1
				}
			done
		done
	done < <(prefix_table)
	summary="$count symbols"
	return $bad
}

check_exports() {
	local file name line bad=0 count=0

	while IFS=: read -r file line; do
		count=$((count + 1))
		name=$(sed -E 's/^EXPORT_SYMBOL[A-Z_]*\( *([A-Za-z0-9_]+).*/\1/' \
			<<<"$line")
		case $line in
		'EXPORT_SYMBOL_NS('*', "HMM")'*) ;;
		'EXPORT_SYMBOL_IF_KUNIT('*) continue ;;
		*) echo "$file: $line: not in namespace \"HMM\""; bad=1 ;;
		esac
		grep -qE "^ \* (struct )?$name(\(\))? - " "$file" \
				$(files 'include/hmm/*.h') || {
			echo "$file: $name is exported without kernel-doc"
			bad=1
		}
	done < <(files '*.c' | grep -v ^compat/ | xargs grep -HE '^EXPORT_SYMBOL')
	summary="$count exports"
	return $bad
}
