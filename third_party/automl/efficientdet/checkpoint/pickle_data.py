"""Restricted unpickler: reads plain data from a pickle without calling any function.

Python's own unpickler executes what a file requests. This one implements the
opcodes that build dictionaries, lists, tuples, numbers and strings. Names of
functions and classes remain names, and the caller decides what a call of an
allowed name returns.
"""

import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import IO, NamedTuple

from efficientdet.errors import CheckpointError

MAX_OPCODES = 2_000_000
"""Longer pickles are rejected; a state dict of EfficientNet-B7 has 26,000 opcodes."""


class Name(NamedTuple):
    """Module and name of a function or class in a pickle."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class ForeignObjectError(CheckpointError):
    """A pickle contains more than plain data; nothing of it was executed."""

    def __init__(self, what: str) -> None:
        """Stores what was found, printable and short."""
        shown = "".join(letter if letter.isprintable() else "?" for letter in what)[:120]
        super().__init__(shown)
        self.what = shown


Call = Callable[[Name, tuple[object, ...]], object]
Persistent = Callable[[object], object]


def load_plain(stream: IO[bytes], *, allowed: Collection[Name], call: Call, persistent: Persistent) -> object:
    """Returns the value of the next pickle in a stream, and leaves the stream after it.

    Args:
      stream: of limited length, since a string may be as long as the rest of it.
      allowed: names that the pickle may use, such as classes of storages.
      call: returns the result of a call of an allowed name.
      persistent: returns the object of a persistent id.

    Raises:
      ForeignObjectError: another name, or an opcode that plain data does not need.
      ValueError: it is truncated or damaged.
    """
    machine = _Machine(frozenset(allowed), call, persistent)
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if number >= MAX_OPCODES:
            raise ValueError(f"the pickle has more than {MAX_OPCODES:,} opcodes")
        step = _STEPS.get(opcode.name)
        if step is None:
            raise ForeignObjectError(f"the pickle opcode {opcode.name}")
        step(machine, argument)
    if len(machine.stack) != 1 or machine.marks:
        raise ValueError("the pickle does not end in one value")
    return machine.stack[0]


@dataclass
class _Machine:
    """Stack, marks and memo of the unpickler."""

    allowed: frozenset[Name]
    call: Call
    persistent: Persistent
    stack: list[object] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)

    def pop(self) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("the pickle takes a value from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise ValueError("the pickle has no mark where it needs one")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def top(self, kind: type) -> object:
        value = self.pop()
        self.stack.append(value)
        if not isinstance(value, kind):
            raise ValueError(f"the pickle fills a {type(value).__name__} as a {kind.__name__}")
        return value

    def name(self, module: object, name: object) -> None:
        found = Name(str(module), str(name))
        if found not in self.allowed:
            raise ForeignObjectError(f"the Python object {found}")
        self.stack.append(found)

    def set_items(self, values: list[object]) -> None:
        target = self.top(dict)
        if len(values) % 2 or not isinstance(target, dict):
            raise ValueError("the pickle has a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | int | float | None):
                # Hashing a deeply nested tuple can take exponential time.
                raise ForeignObjectError(f"a {type(key).__name__} as a key")
            target[key] = value


def _push(machine: _Machine, argument: object) -> None:
    machine.stack.append(argument)


def _pushes(value: object) -> Callable[[_Machine, object], None]:
    return lambda machine, _: machine.stack.append(value)


def _mark(machine: _Machine, _: object) -> None:
    machine.marks.append(len(machine.stack))


def _pop(machine: _Machine, _: object) -> None:
    machine.pop()


def _tuple_of(count: int) -> Callable[[_Machine, object], None]:
    def step(machine: _Machine, _: object) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(values)))

    return step


def _tuple(machine: _Machine, _: object) -> None:
    machine.stack.append(tuple(machine.pop_to_mark()))


def _list(machine: _Machine, _: object) -> None:
    machine.stack.append(machine.pop_to_mark())


def _dict(machine: _Machine, _: object) -> None:
    values = machine.pop_to_mark()
    machine.stack.append({})
    machine.set_items(values)


def _append(machine: _Machine, _: object) -> None:
    _extend(machine, [machine.pop()])


def _appends(machine: _Machine, _: object) -> None:
    _extend(machine, machine.pop_to_mark())


def _extend(machine: _Machine, values: list[object]) -> None:
    target = machine.top(list)
    if isinstance(target, list):
        target.extend(values)


def _set_item(machine: _Machine, _: object) -> None:
    value = machine.pop()
    machine.set_items([machine.pop(), value])


def _set_items(machine: _Machine, _: object) -> None:
    machine.set_items(machine.pop_to_mark())


def _put(machine: _Machine, argument: object) -> None:
    number = len(machine.memo) if argument is None else int(str(argument))
    value = machine.pop()
    machine.stack.append(value)
    machine.memo[number] = value


def _get(machine: _Machine, argument: object) -> None:
    number = int(str(argument))
    if number not in machine.memo:
        raise ValueError(f"the pickle asks for value {number}, which it never stored")
    machine.stack.append(machine.memo[number])


def _global(machine: _Machine, argument: object) -> None:
    module, _, name = str(argument).partition(" ")
    machine.name(module, name)


def _stack_global(machine: _Machine, _: object) -> None:
    name = machine.pop()
    machine.name(machine.pop(), name)


def _persistent_id(machine: _Machine, _: object) -> None:
    machine.stack.append(machine.persistent(machine.pop()))


def _reduce(machine: _Machine, _: object) -> None:
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(function, Name) or not isinstance(arguments, tuple):
        raise ForeignObjectError("a call of something that is not a name")
    machine.stack.append(machine.call(function, arguments))


def _build(machine: _Machine, _: object) -> None:
    """Ignores the state of a dictionary: PyTorch's state dicts have the versions of their layers there."""
    state = machine.pop()
    machine.top(dict)
    if not isinstance(state, dict):
        raise ForeignObjectError(f"a dictionary with a {type(state).__name__} as its state")


def _nothing(_: _Machine, __: object) -> None:
    return None


_STEPS: dict[str, Callable[[_Machine, object], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"), _push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _push),
    **{"NONE": _pushes(None), "NEWTRUE": _pushes(True), "NEWFALSE": _pushes(False), "EMPTY_TUPLE": _pushes(())},
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    **{"MARK": _mark, "POP": _pop, "TUPLE": _tuple, "LIST": _list, "DICT": _dict},
    **{f"TUPLE{count}": _tuple_of(count) for count in (1, 2, 3)},
    **{"APPEND": _append, "APPENDS": _appends, "SETITEM": _set_item, "SETITEMS": _set_items},
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _get),
    **{"GLOBAL": _global, "STACK_GLOBAL": _stack_global},
    **{"BINPERSID": _persistent_id, "REDUCE": _reduce, "BUILD": _build},
}
