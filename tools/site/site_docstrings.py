# SPDX-License-Identifier: Apache-2.0
"""For mkdocstrings: the extension's docstrings, which its stubs have not, and docstrings as Markdown."""

import importlib
import inspect
import re

import griffe

PARAMETER = re.compile(r"(^|[.;]\s+)(\w+(?:\([\w, ]*\))?): ")
MARKUP = re.compile(r"(`[^`]*`)|([*_<])")


def markdown(docstring):
    """Plain text as Markdown: what is no code has no markup, and what is said of a parameter begins with its name in bold."""
    paragraphs = re.split(r"\n\n+", docstring)
    return "\n\n".join(paragraph if paragraph.startswith("    ") else _prose(paragraph) for paragraph in paragraphs)


def _prose(paragraph):
    text = MARKUP.sub(lambda part: part[1] or f"\\{part[2]}", paragraph)
    return PARAMETER.sub(r"\1**\2**: ", text)


def _signature(function):
    """The parameters of a function of the extension, without types."""
    return griffe.Parameters(
        *(
            griffe.Parameter(
                parameter.name,
                kind=griffe.ParameterKind[parameter.kind.name.lower()],
                default=None if parameter.default is parameter.empty else _default(parameter.default),
            )
            for parameter in inspect.signature(function).parameters.values()
        )
    )


def _default(value):
    return "..." if value is ... else repr(value)


def _line(named):
    _, member = named
    return 0 if member.is_alias else member.lineno or 0


class RuntimeDocstrings(griffe.Extension):
    """Of what only the stubs of forebay._core speak, the running extension says what it is."""

    def on_package(self, *, pkg, **_):
        core = pkg["_core"]
        self._complete(core, importlib.import_module("forebay._core"))
        self._to_markdown(pkg, set())

    def _complete(self, described, running):
        for name, overloads in described.overloads.items():
            if name not in described.members:
                described[name] = griffe.Function(name, parameters=_signature(getattr(running, name)), lineno=overloads[0].lineno)
        described.members = dict(sorted(described.members.items(), key=_line))
        for name, member in described.members.items():
            if member.is_alias or not hasattr(running, name):
                continue
            documented = getattr(running, name)
            if not member.docstring and not member.is_attribute and (text := inspect.getdoc(documented)):
                member.docstring = griffe.Docstring(text, parent=member)
            if member.is_class:
                self._complete(member, documented)

    def _to_markdown(self, described, seen):
        if described.is_alias or id(described) in seen:
            return
        seen.add(id(described))
        if described.docstring:
            described.docstring.value = markdown(described.docstring.value)
        for member in described.members.values():
            self._to_markdown(member, seen)
