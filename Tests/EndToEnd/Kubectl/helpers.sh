# What the commands of kubectl.script may use besides kubectl.

# follow FILE COMMAND...: runs a command beside the others, its output in FILE.
follow() { local file=$1; shift; "$@" >"$file" 2>&1 & followed=$!; }
# has FILE TEXT [LINES]: waits until so many lines of the file (one) have the text.
has() {
  for _ in $(seq 400); do [ "$(grep -c -e "$2" "$1")" -ge "${3:-1}" ] && return; sleep 0.05; done
  echo "$1 has no ${3:-1} lines of $2:"; cat "$1"; return 1
}
# stop: ends what `follow` began.
stop() { kill "$followed" 2>/dev/null; wait "$followed" 2>/dev/null; return 0; }
# seen DEPLOYMENT: waits until its controller has seen the last change: each is a revision of its own then.
seen() {
  local generations
  for _ in $(seq 200); do
    generations=$(kubectl get deployment "$1" -o jsonpath='{.metadata.generation} {.status.observedGeneration}')
    [ "${generations% *}" = "${generations#* }" ] && return
    sleep 0.05
  done
  echo "the last change of $1 is not seen: $generations"; return 1
}
