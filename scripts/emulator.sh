# shellcheck shell=bash disable=SC2154,SC2164
# Sourced by the scripts that boot Debian's kernel in qemu: with nothing but busybox, the C library and what they add.
# They set `name` before, for messages. Emulation of the processor only (TCG): slow, and needs no privilege.
#
#   emulator_prepare                  $work, a folder that goes with the script; $root, its file tree; $kernel
#   emulator_add FILE...              programs and libraries into /bin, and the libraries that they need into /lib64
#   emulator_pack                     the tree, with the caller's $root/init, into a RAM disk
#   emulator_boot SECONDS ARGUMENT... boots it with these arguments of qemu; its output from the line "kernel ..." on

as_root() {
  if [[ $(id -u) -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

emulator_prepare() {
  local package missing=()
  for package in qemu-system-x86 cpio; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  if [[ ${#missing[@]} -gt 0 ]]; then
    echo "$name: installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi

  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  root=$work/root
  # Unpacked, not installed: this machine keeps its kernel.
  (
    cd "$work"
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
    apt-get download -qq "$package" busybox-static 2>/dev/null
    for package in ./*.deb; do dpkg -x "$package" unpacked; done
  )
  kernel=$(echo "$work"/unpacked/boot/vmlinuz-*)
  mkdir -p "$root"/{bin,proc,sys,dev,tmp,lib64}
  cp "$work"/unpacked/bin/busybox "$root/bin"
}

emulator_add() {
  local file
  for file in "$@"; do
    cp -L "$file" "$root/bin"
    # By name: the loader is told where to look.
    ldd "$file" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /ld-linux/ { print $1 }'
  done | sort -u | while read -r file; do cp -L "$file" "$root/lib64"; done
}

emulator_pack() {
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/disk.gz"
}

emulator_boot() {
  local seconds=$1
  shift
  timeout "$seconds" qemu-system-x86_64 -accel tcg,thread=multi -cpu max "$@" -kernel "$kernel" -initrd "$work/disk.gz" \
    -append "console=ttyS0 quiet panic=-1" -display none -serial stdio -monitor none -no-reboot </dev/null \
    2>"$work/errors" | tr -d '\r' | sed -n '/^kernel /,$p'
}
