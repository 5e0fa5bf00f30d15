# SPDX-License-Identifier: Apache-2.0
# Completion of forebay for bash, with bash-completion: the command itself says what may come.
_forebay()
{
    local current words position line split
    _get_comp_words_by_ref -n := -c current -w words -i position || return
    words=("${words[@]/#\~\//$HOME/}")
    split=${current%"${current##*[:=]}"} # what readline keeps as it is
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o default # its own, of file names
            return
        fi
        line=${line%%$'\t'*}
        if [[ $line == "$current"* ]]; then
            line=${line#"$split"}
            COMPREPLY+=("$(printf %q "$line")")
        fi
    done < <("${words[0]}" __complete "${words[@]:1:position}" 2>/dev/null)
}
complete -F _forebay forebay
