# What the commands of kubectl.script may use besides kubectl.

# follow FILE COMMAND...: runs a command beside the others, its output in FILE.
follow() { local file=$1; shift; "$@" >"$file" 2>&1 & followed=$!; }
# has FILE TEXT: waits until the file has the text.
has() {
  for _ in $(seq 400); do grep -q -e "$2" "$1" && return; sleep 0.05; done
  echo "$1 has no $2:"; cat "$1"; return 1
}
# stop: ends what `follow` began.
stop() { kill "$followed" 2>/dev/null; wait "$followed" 2>/dev/null; return 0; }
