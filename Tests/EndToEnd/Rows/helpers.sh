# What the commands of rows.script may use besides kubectl.

# run NAME COMMAND...: a command in a pod.
run() { local pod=$1; shift; kubectl exec "$pod" -- "$@"; }
