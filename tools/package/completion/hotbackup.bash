# SPDX-License-Identifier: Apache-2.0
# Bash completion for hotbackup. Commands and options are read from --help, so they are always those of
# the installed program; groups from the configuration.

_hotbackup_groups() {
  sed -n '/^\[\[group\]\]/,/^\[/ s/^name *= *"\([^"]*\)".*/\1/p' \
    "${HOTBACKUP_CONFIG:-/etc/hotbackup/hotbackup.toml}" 2>/dev/null
}

_hotbackup() {
  local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} command= word i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${COMP_WORDS[i]}
    case $word in
      --config) ((++i)) ;;
      -*) ;;
      *) command=$word && break ;;
    esac
  done
  local help options
  case ${COMP_WORDS[COMP_CWORD - 1]} in
    --config | --into | --from | --state | --scan | --root)
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    --role)
      mapfile -t COMPREPLY < <(compgen -W "master slave" -- "$current")
      return
      ;;
  esac
  if [[ -z $command ]]; then
    help=$("$program" --help 2>/dev/null)
    options=$(sed -n '/^Subcommands:/,$ s/^  \([a-z][a-z-]*\) .*/\1/p' <<<"$help")
  else
    help=$("$program" "$command" --help 2>/dev/null)
    case $command in
      capture) options=$(systemctl list-unit-files --type=service --no-legend 2>/dev/null | cut -d ' ' -f 1) ;;
      run | setup | hook) options= ;;
      *) options=$(_hotbackup_groups) ;;
    esac
  fi
  [[ $current == -* ]] && options=$(grep -o -- '--[a-z][a-z-]*' <<<"$help" | sort -u)
  mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
}
complete -F _hotbackup hotbackup
