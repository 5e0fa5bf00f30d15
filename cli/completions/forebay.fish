# SPDX-License-Identifier: Apache-2.0
# Completion of forebay for fish: the command itself says what may come.
function __forebay_complete
    set -l before (string replace -r '^~/' $HOME/ -- (commandline -opc))
    set -l current (commandline -ct)
    for line in ($before[1] __complete $before[2..] "$current" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end
complete -c forebay -f -a '(__forebay_complete)'
