# handler EVENT: prints the answer, as JSON; what it writes to standard error is logged.
handler() {
  echo "an event of ${#1} characters" >&2
  case $1 in
    *fail*) return 1 ;;
  esac
  printf '{"kernel": "%s", "event": %s}' "$(uname -s)" "$1"
}
