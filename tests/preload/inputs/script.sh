# Strings, arrays, functions, subshells, pipes and here-documents in bash alone: script.sh COUNT.
count=$1
declare -A seen
list=()
for ((i = 0; i < count; i++)); do
  key="key$((i * 7919 % 1009))"
  seen[$key]+="$i,"
  list+=("${key/key/value}-$i")
done
for key in $(printf '%s\n' "${!seen[@]}" | sort); do echo "$key ${#seen[$key]} ${seen[$key]:0:20}"; done
printf '%s\n' "${list[@]: -20}"
fib() { if (($1 < 2)); then echo "$1"; else echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); fi; }
fib 9
text=
for ((i = 0; i < count; i++)); do text+="word$i "; done
echo ${#text} "${text:100:50}" "${text//word1/WORD}" | cksum
echo "${text^^}" | tr ' ' '\n' | while read -r word; do
  [[ $word =~ ^WORD([0-9]+)7$ ]] && echo "${BASH_REMATCH[1]}"
done | tail -5
coproc cat
echo "through a coprocess" >&"${COPROC[1]}"
read -r line <&"${COPROC[0]}"
echo "$line"
wait_for=()
for i in 1 2 3 4; do (exit "$i") & wait_for+=($!); done
for pid in "${wait_for[@]}"; do wait "$pid"; echo "exit $?"; done
mapfile -t lines < <(seq "$count")
echo ${#lines[@]} "${lines[-1]}"
cat <<EOF | sort -r | head -3
$(seq 1 "$count")
EOF
trap 'echo bye' EXIT
eval 'unset seen list text lines'
exit 0
