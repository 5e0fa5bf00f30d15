# SPDX-License-Identifier: Apache-2.0
"""Run what a page of the documentation shows, in order, as a reader would, in a folder of its own.

What is done with a fenced block says its language:

    python          with >>> a doctest, else a program; all of a page share their names
    ... title="F"   (any language) the file F of the folder
    sh              commands, all of which must succeed
    console         the same after $, with what they print below; "..." stands for anything
    text            nothing
    any other       an error: it needs a title, or the reason why it is not run, in a line above it:
                    <!-- not run: it takes hours -->

`<!-- sh not run here: ... -->` speaks of all blocks of a page in a language that have no title.  A command that
ends in & is a server: what follows waits until it listens on the ports of the page that it names.

/dev/shm/ and the ports 8000 and 6379 stand for a folder and for ports that nobody else uses.
"""

import doctest
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from forebay.testing.servers._ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(
    r"^(?: *<!-- not run: (?P<reason>[^\n]+?) -->\n+)?(?P<indent> *)```(?P<language>\w*)(?: +title=\"(?P<title>[^\"]+)\")?[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.M | re.S,
)
NOT_RUN_HERE = re.compile(r"^<!-- (\w+) not run here: .+ -->$", re.M)
PORTS = "8000", "6379"
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
COMMAND = re.compile(r"^\$ (.*(?:(?<=\\)\n.*)*)\n?((?:(?!\$ ).*\n?)*)", re.M)
END = "end of the command"
PATIENCE = 60  # seconds until a server that does not listen is an error


class PageError(AssertionError):
    """A page that is not true."""


@dataclass
class Block:
    language: str
    title: str | None
    text: str
    line: int  # of the page, of the first line of the text


def blocks(text):
    """The blocks of a page that are run; PageError: one that is neither run nor says why."""
    not_run = set(NOT_RUN_HERE.findall(text))
    found = []
    for match in BLOCK.finditer(text):
        block = Block(match["language"], match["title"], _outdented(match), text.count("\n", 0, match.start("text")) + 1)
        if match["reason"] or block.language == "text" or (block.language in not_run and not block.title):
            continue
        if not block.title and block.language not in ("python", "sh", "console"):
            raise PageError(f"line {block.line}: a block in {block.language or 'no language'} has no title and no reason not to be run")
        found.append(block)
    return found


def shown(text, language):
    """The texts of a page's blocks in a language, run or not."""
    return [_outdented(match) for match in BLOCK.finditer(text) if match["language"] == language]


def _outdented(match):
    return re.sub(f"^{match['indent']}", "", match["text"], flags=re.M)


class Shell:
    """A bash that runs the commands of a page, one after another, and whose servers end with it."""

    def __init__(self, folder, environment):
        self._log = folder / "servers.log"
        self._bash = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, command, ports=()):
        """What a command prints, and its exit status; of a server: once it listens."""
        is_server = command.endswith("&")
        if is_server:
            command = f"{command[:-1]} >>{self._log} 2>&1 </dev/null &"
        self._bash.stdin.write(f"{command}\nprintf '\\n%s %s\\n' '{END}' $?\n")
        self._bash.stdin.flush()
        printed = ""
        while not (end := re.search(rf"\n{END} (\d+)\n$", printed)):
            line = self._bash.stdout.readline()
            if not line:
                raise PageError(f"the shell ended: {printed}")
            printed += line
        if is_server:
            for port in ports:
                self._wait_for(port, command)
        return printed[: end.start()].removesuffix("\n"), int(end[1])

    def _wait_for(self, port, command):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise PageError(f"{command} does not listen on {port}: {self._log.read_text()}") from None
                time.sleep(0.02)

    def close(self):
        self._bash.stdin.close()
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.stdout.close()
        self._bash.wait()


class Page:
    """A page while it is run.  As a context manager, in the folder that is current then."""

    def __init__(self, names, environment):
        self._names = {"__name__": "__main__"} | names
        self._environment = environment
        self._shell = None

    def __enter__(self):
        self._folder = Path.cwd()
        self._memory = Path(tempfile.mkdtemp(prefix="forebay-test-", dir="/dev/shm"))
        self._ports = dict(zip(PORTS, map(str, free_ports(len(PORTS)))))
        return self

    def __exit__(self, *_):
        if self._shell:
            self._shell.close()
        shutil.rmtree(self._memory)

    def run(self, block):
        """Run a block; how many examples, or commands, those were."""
        if block.title:
            path = self._folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._placed(block.text))
            return 0
        kind = "examples" if block.text.startswith(">>> ") else block.language
        return {"examples": self._examples, "python": self._program, "sh": self._commands, "console": self._session}[kind](block)

    def _placed(self, text):
        """With the memory and the ports that this page has."""
        text = text.replace("/dev/shm/", f"{self._memory}/")
        return re.sub(r"\b(?:{})\b".format("|".join(PORTS)), lambda found: self._ports[found[0]], text)

    def _displaced(self, text):
        text = text.replace(f"{self._memory}/", "/dev/shm/")
        for shown, port in self._ports.items():
            text = text.replace(port, shown)
        return text

    def _examples(self, block):
        test = doctest.DocTestParser().get_doctest(self._placed(block.text), {}, "page", "page", block.line - 1)
        test.globs = self._names
        told = []
        outcome = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF | doctest.ELLIPSIS).run(test, out=told.append, clear_globs=False)
        if outcome.failed:
            raise PageError(self._displaced("".join(told)))
        return outcome.attempted

    def _program(self, block):
        lines = "\n" * (block.line - 1)
        exec(compile(lines + self._placed(block.text), "page", "exec"), self._names)
        return 1

    def _command(self, command):
        if self._shell is None:
            self._shell = Shell(self._folder, self._environment)
        command = self._placed(command)
        printed, status = self._shell.run(command, [port for port in self._ports.values() if port in command])
        if status:
            raise PageError(f"$ {command}\n{printed}\nended with {status}")
        return self._displaced(printed)

    def _commands(self, block):
        commands = re.findall(r"^(?!#)(\S.*(?:(?<=\\)\n.*)*)", block.text, re.M)
        for command in commands:
            self._command(command)
        return len(commands)

    def _session(self, block):
        commands = COMMAND.findall(block.text)
        for command, wanted in commands:
            printed = self._command(command)
            if wanted and not doctest.OutputChecker().check_output(wanted, printed + "\n", LOOSELY):
                raise PageError(f"line {block.line}: $ {command}\nprinted:\n{printed}\nand not:\n{wanted}")
        return len(commands)


def run(text, names, environment):
    """Run a page in the current folder; how many examples and commands it has."""
    with Page(names, environment) as page:
        return sum(page.run(block) for block in blocks(text))


def sections(text, wanted):
    """A page with those of its sections whose titles are wanted, and what is above them."""
    first, *others = text.split("\n## ")
    return "\n## ".join([first, *(section for section in others if wanted(section.partition("\n")[0]))])
