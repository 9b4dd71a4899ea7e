# SPDX-License-Identifier: GPL-2.0
# Helpers that the shell scripts here share. Source it; it runs nothing.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
HMM_CACHE=${HMM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hmm-mirror}
KERNEL_TABLE=$TOP/scripts/kernels.table
JOBS=${JOBS:-$(nproc)}
export HMM_CACHE

# What our callers' make was told is not meant for the makes run here.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL V C CF W WERROR M O K F T OUT \
	KDIR KERNELRELEASE
export LC_ALL=C.UTF-8

me=${0##*/}

say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { printf '%s: error: %s\n' "$me" "$*" >&2; exit 1; }

# The comment block at the head of the calling script, as its help text.
usage_from_head() {
	sed -n '/^# usage/I,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$0"
}

# Runs a command with its output in a log file and a counting line on stderr,
# so that a long step shows signs of life without a flood.
#   progress "what" LOGFILE COMMAND...
progress() {
	local what=$1 log=$2 begin=$SECONDS shown=0 lines status pid
	shift 2
	mkdir -p "${log%/*}"
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.5
		if [ -t 2 ]; then
			lines=$(wc -l <"$log")
			printf '\r%s: %s: %d lines, %d s ' "$me" "$what" \
				"$lines" $((SECONDS - begin)) >&2
		elif [ $((SECONDS - begin)) -ge $((shown + 20)) ]; then
			shown=$((SECONDS - begin))
			say "$what: $(wc -l <"$log") lines, $shown s"
		fi
	done
	wait "$pid" && status=0 || status=$?
	[ ! -t 2 ] || printf '\r\033[K' >&2
	if [ "$status" -ne 0 ]; then
		grep -nE 'error|Error|undefined|\*\*\*' "$log" | head -n 20 >&2
		tail -n 15 "$log" >&2
		say "$what failed (status $status); the whole output: $log"
		return "$status"
	fi
	say "$what: done in $((SECONDS - begin)) s"
}

# One column of one row of the kernel table.
#   kernel_field NAME COLUMN
kernel_field() {
	awk -v name="$1" -v col="$2" '
		/^#/ || !NF { next }
		$1 == name { print $col; found = 1 }
		END { exit !found }' "$KERNEL_TABLE"
}

kernel_names() {
	awk '!/^#/ && NF { printf "%s%s", sep, $1; sep = ", " }' "$KERNEL_TABLE"
}

# Takes a lock for the rest of the (sub)shell; says so when it has to wait.
#   lock FILE WHAT
lock() {
	mkdir -p "${1%/*}"
	exec 9>"$1"
	if ! flock -n 9; then
		say "waiting: another run is busy with $2"
		flock 9
	fi
}

have_package() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}
