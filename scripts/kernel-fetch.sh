# SPDX-License-Identifier: GPL-2.0
# How scripts/kernel gets at packages. Needs lib.sh.

# apt, set up for one other suite of Debian: with the machine's own mirror, but
# lists and cache of its own, so nothing of the machine changes.
suite_apt() {
	local suite=$1 dir=$HMM_CACHE/apt/$1 uri
	shift

	if [ ! -e "$dir/sources.list" ]; then
		uri=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' \
			"Codename: $(. /etc/os-release; echo "$VERSION_CODENAME")" |
			awk '$2 == "main" { print $1; exit }')
		[ -n "$uri" ] || die "apt has no mirror of Debian configured"
		mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" \
			>"$dir/sources.list"
	fi
	apt-get -qq -o Dir::Etc::sourcelist="$dir/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null -o Dir::State::Lists="$dir/lists" \
		-o Dir::Cache="$dir/cache" -o APT::Sandbox::User=root "$@"
}

# Downloads packages into the current directory; refreshes apt's lists only
# when apt does not know the package.
download() {
	local suite=$1
	shift
	if [ "$suite" != - ]; then
		suite_apt "$suite" download "$@" 2>/dev/null && return
		say "reading the package list of $suite"
		suite_apt "$suite" update >&2 && suite_apt "$suite" download "$@" ||
			die "cannot download $* of $suite: check the network"
	elif ! apt-get -qq download "$@" 2>/dev/null; then
		"$TOP/scripts/setup" --update-lists
		apt-get -qq download "$@" ||
			die "cannot download $*: check the network and that" \
			    "apt knows Debian's security suite"
	fi
}

# Unpacks a kernel's source once; prints the directory. The file .package in it
# says which version it is.
#   fetch_source KERNEL UPDATE
fetch_source() {
	local suite package current dir tmp tarball

	suite=$(kernel_field "$1" 3)
	package=$(kernel_field "$1" 4)
	current=$HMM_CACHE/sources/$1.current
	if [ -z "$2" ] && [ -e "$current" ] &&
	   [ -e "$HMM_CACHE/sources/$(cat "$current")/.package" ]; then
		echo "$HMM_CACHE/sources/$(cat "$current")"
		return
	fi
	(
		lock "$HMM_CACHE/locks/source-$1" "the source of $1"
		if [ -z "$2" ] && [ -e "$current" ]; then
			exit 0
		fi
		mkdir -p "$HMM_CACHE/sources"
		tmp=$(mktemp -d "$HMM_CACHE/sources/tmp.XXXXXX")
		trap 'rm -rf "$tmp"' EXIT
		tarball=/usr/src/$package.tar.xz
		if [ -z "$2" ] && have_package "$package" && [ -e "$tarball" ]; then
			version=$(dpkg-query -W -f='${Version}' "$package")
		else
			say "downloading $package"
			cd "$tmp"
			download "$suite" "$package"
			version=$(dpkg-deb -f "$package"_*.deb Version)
			dpkg-deb --fsys-tarfile "$package"_*.deb |
				tar -xf - "./usr/src/$package.tar.xz"
			tarball=$tmp/usr/src/$package.tar.xz
		fi
		dir=linux-$version
		if [ ! -e "$HMM_CACHE/sources/$dir/.package" ]; then
			rm -rf "${HMM_CACHE:?}/sources/$dir"
			mkdir "$tmp/src"
			progress "unpacking $package $version" \
				"$HMM_CACHE/logs/unpack-$1.log" \
				tar -C "$tmp/src" --strip-components=1 -xJf "$tarball"
			echo "$package $version" >"$tmp/src/.package"
			mv "$tmp/src" "$HMM_CACHE/sources/$dir"
		fi
		echo "$dir" >"$current.new"
		mv "$current.new" "$current"
	) || return
	echo "$HMM_CACHE/sources/$(cat "$current")"
}

# The package that a meta package stands for.
real_package() {
	apt-cache depends "$1" 2>/dev/null | awk '/^ *Depends:/ { print $2; exit }'
}

# Extracts Debian's own kernel and its headers, without installing them. Sets
# kdir, image, modules and source.
#   fetch_stock KERNEL UPDATE
fetch_stock() {
	local name=$1 update=$2 root
	local current=$HMM_CACHE/sources/$1.current

	if [ -n "$update" ] || [ ! -e "$current" ] ||
	   [ ! -e "$HMM_CACHE/kernels/$(cat "$current")/.ready" ]; then
		(
			lock "$HMM_CACHE/locks/source-$name" "fetching $name"
			if [ -n "$update" ] || [ ! -e "$current" ]; then
				extract_stock "$name" "$current"
			fi
		) || exit
	fi
	root=$HMM_CACHE/kernels/$(cat "$current")
	release=$(cat "$root/.ready")
	kdir=$root/usr/src/linux-headers-$release
	image=$root/boot/vmlinuz-$release
	modules=$root
	source=$kdir
}

extract_stock() {
	local image_package headers_package release common kbuild root deb

	if [ -z "$(real_package "$(kernel_field "$1" 4)")" ]; then
		"$TOP/scripts/setup" --update-lists
	fi
	image_package=$(real_package "$(kernel_field "$1" 4)")
	headers_package=$(real_package "$(kernel_field "$1" 5)")
	[ -n "$image_package" ] && [ -n "$headers_package" ] ||
		die "apt does not know $(kernel_field "$1" 4): is Debian's" \
		    "security suite in its sources?"
	release=${image_package#linux-image-}
	common=linux-headers-${release%-*}-common
	kbuild=linux-kbuild-${release%-*}

	mkdir -p "$HMM_CACHE/kernels"
	tmp=$(mktemp -d "$HMM_CACHE/kernels/tmp.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	say "downloading $image_package and its headers"
	mkdir "$tmp/debs" "$tmp/root"
	cd "$tmp/debs"
	download "$(kernel_field "$1" 3)" "$image_package" "$headers_package" \
		"$common" "$kbuild"
	for deb in *.deb; do
		progress "extracting ${deb%%_*}" "$HMM_CACHE/logs/extract.log" \
			dpkg-deb -x "$deb" "$tmp/root"
	done
	root=$HMM_CACHE/kernels/$1-$release
	# The headers refer to each other by absolute names.
	sed -i "s|/usr/src/|$root/usr/src/|" \
		"$tmp/root/usr/src/linux-headers-$release/Makefile"
	# Without it no pahole is needed to build modules.
	rm -f "$tmp/root/usr/src/linux-headers-$release/vmlinux"
	depmod -b "$tmp/root" "$release"
	echo "$release" >"$tmp/root/.ready"
	rm -rf "$root"
	mv "$tmp/root" "$root"
	echo "$1-$release" >"$current"
}
