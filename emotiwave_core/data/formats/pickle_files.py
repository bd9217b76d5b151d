"""Pickles, read without running any of them: arrays, texts, numbers, lists, tuples and tables, and nothing else.

This is an interpreter of the opcodes of protocol 2 to 5 in which there is nothing to call: the few constructors by
which NumPy 1 and 2 write an array are names that it knows, and every other name, and every opcode that would make an
object, is refused. Memory grows with the opcodes alone, of which there is a limit: long texts and the content of arrays
stay in the file as spans, and are read when they are asked for.
"""

import math
import re
import struct
import sys
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.errors import short

PROTOCOLS = (2, 3, 4, 5)
MOST_OPCODES = 1 << 23  # what lists of plain numbers need beyond it, an array holds in one
LONGEST_TEXT = 1 << 16  # bytes that are read at once; longer ones are spans
LONGEST_NUMBER = 16  # bytes of a whole number
LONGEST_NAME = 200  # characters of a module or a class
MOST_AXES = 6
MOST_AT_ONCE = 4 << 30  # bytes of an array that is read whole
_DTYPE = re.compile(r"[fiu][1248]|b1|[US]\d{1,6}|O[48]?")

# The names by which NumPy 1 and 2 write arrays, and Python 3 bytes for protocol 2, each with what is done instead.
_KNOWN = {
    **{
        f"numpy.{core}.{name}": name
        for core in ("core", "_core")
        for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
    },
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
    **{f"{module}.{name}": "bytes" for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
}

_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
_NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
_TEXTS = {b"X": 4, b"\x8c": 1, b"\x8d": 8}  # by the bytes of their length
_BYTES = {b"B": 4, b"C": 1, b"\x8e": 8, b"\x96": 8, b"T": 4, b"U": 1}
_TUPLES = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}
_GETS, _PUTS = {b"h": 1, b"j": 4}, {b"q": 1, b"r": 4}
_LONGS = {b"\x8a": 1, b"\x8b": 4}
_REFUSED = {
    **dict.fromkeys((b"o", b"i", b"\x81", b"\x92"), "an object of a class"),
    **dict.fromkeys((b"P", b"Q"), "a reference to something outside of it"),
    **dict.fromkeys((b"\x82", b"\x83", b"\x84"), "a registered extension"),
    **dict.fromkeys((b"\x8f", b"\x90", b"\x91"), "a set"),
    **dict.fromkeys((b"\x97", b"\x98"), "a buffer outside of it"),
}


class Span(NamedTuple):
    """A long text, or the content of an array, as it stands in the file."""

    start: int
    length: int
    is_latin: bool = False  # bytes that protocol 2 writes as a text of the characters 0 to 255


class _Known(NamedTuple):
    """A name of `_KNOWN`."""

    does: str


class _Dtype:
    """A NumPy type; the byte order is told after the type."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The type for NumPy; of objects, the lists that hold them are kept instead."""
        return np.dtype(object) if self.code[0] == "O" else np.dtype(f"{self.order}{self.code}")


class PickledArray:
    """An array of a pickle, whose content is still in the file, or is a list of other values."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    data: Span | bytes | list[Any]
    is_whole = False

    def fill(self, shape: Any, dtype: Any, is_fortran: Any, data: Any) -> None:
        """Give it what it holds. ValueError where the parts do not fit each other, or where it has been filled."""
        if self.is_whole or not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or len(shape) > MOST_AXES:
            raise ValueError("an array in it is of no known form")
        if not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
            raise ValueError(f"an array in it has the shape {short(shape)}")
        self.dtype, self.shape, self.is_fortran = dtype.numpy, shape, bool(is_fortran)
        if isinstance(data, list if self.dtype.hasobject else Span | bytes):
            self.data = data
        else:
            raise ValueError("an array in it holds something else than its type says")
        held = len(data) if isinstance(data, list | bytes) else data.length
        needed = math.prod(shape) * (1 if self.dtype.hasobject else self.dtype.itemsize)
        if held < needed or (held > needed and not (isinstance(data, Span) and data.is_latin)):
            raise ValueError(f"an array in it of the shape {short(shape)} needs {needed} and holds {held}")
        self.is_whole = True

    @property
    def is_in_rows(self) -> bool:
        """True where one entry of the first axis can be read without the others."""
        return isinstance(self.data, Span) and not self.data.is_latin and (not self.is_fortran or len(self.shape) < 2)

    def values(self, file: BinaryIO) -> NDArray[Any]:
        """All of it, from the file that it is in. ValueError where it cannot be read."""
        if isinstance(self.data, list):
            values: NDArray[Any] = np.empty(len(self.data), dtype=object)
            values[:] = self.data
            return values.reshape(self.shape, order="F" if self.is_fortran else "C")
        content = self.data if isinstance(self.data, bytes) else take(file, self.data)
        return self._shaped(content, self.shape)

    def row(self, file: BinaryIO, index: int) -> NDArray[Any]:
        """One entry of the first axis of an array that `is_in_rows`."""
        assert isinstance(self.data, Span)
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        return self._shaped(take(file, Span(self.data.start + index * size, size)), self.shape[1:])

    def _shaped(self, content: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
        if len(content) != math.prod(shape) * self.dtype.itemsize:
            raise ValueError("an array in it is cut off")
        if not content:
            return np.empty(shape, self.dtype)
        if self.dtype.kind == "U" and (np.frombuffer(content, f"{self.dtype.str[0]}u4") > sys.maxunicode).any():
            raise ValueError("a text in an array in it is damaged")  # of which Python would make a SystemError
        return np.frombuffer(content, self.dtype).reshape(shape, order="F" if self.is_fortran else "C")


def take(file: BinaryIO, span: Span) -> bytes:
    """The bytes of a span. ValueError where they are not there."""
    if span.length > MOST_AT_ONCE:
        raise ValueError(f"it holds {span.length} bytes in one piece")
    file.seek(span.start)
    content = file.read(span.length)
    if len(content) != span.length:
        raise ValueError("it is cut off")
    return _latin(content.decode("utf-8")) if span.is_latin else content


def value_of_pickle(file: BinaryIO, size: int) -> Any:
    """The value that a pickle of `size` bytes holds: None, bool, int, float, str, bytes, list, tuple, dict, Span.

    Of arrays PickledArray. ValueError where it is damaged, or holds anything else.
    """
    try:
        return _Pickle(file, size).load()
    except ValueError:
        raise
    except (LookupError, TypeError, AttributeError, struct.error, OverflowError) as error:
        raise ValueError("it is damaged") from error


def written_pickle(value: Any) -> bytes:
    """A pickle, of protocol 3, of tables, lists, texts and arrays of numbers: an example of what is read."""
    return b"\x80\x03" + _written(value) + b"."


def _written(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_written(key) + _written(inner) for key, inner in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_written, value)) + b"e"
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    shape = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in value.shape) + b"t"
    dtype = b"cnumpy\ndtype\n" + _written(value.dtype.str[1:]) + b"\x89\x88\x87R"
    dtype += b"(K\x03" + _written("<") + b"NNN" + (b"J" + struct.pack("<i", -1)) * 2 + b"K\x00tb"
    content = b"B" + struct.pack("<I", value.nbytes) + np.ascontiguousarray(value).tobytes()
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    return empty + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"


class _Pickle:
    """The state of an interpreter: the stack, and what has been remembered by number."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.stack: list[Any] = []
        self.marks: list[int] = []  # where on the stack the values of a list, a tuple or a table begin
        self.arrays: list[PickledArray] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        if self.read(1) != b"\x80" or self.read(1)[0] not in PROTOCOLS:
            raise ValueError("it is no pickle of protocol 2 to 5; save it again by `pickle.dump(…, protocol=4)`")
        for _ in range(MOST_OPCODES):
            opcode = self.read(1)
            if opcode == b".":
                value = self.stack.pop()
                if isinstance(value, _Known | _Dtype) or self.stack or not all(array.is_whole for array in self.arrays):
                    raise ValueError("it ends in the middle of something")
                return value
            self.step(opcode)
        raise ValueError(f"it has more than {MOST_OPCODES} values: save long lists of numbers as NumPy arrays")

    def step(self, opcode: bytes) -> None:
        """Carry out an opcode: first those that only put a value on the stack."""
        if opcode in _NUMBERS:
            form = _NUMBERS[opcode]
            self.stack.append(struct.unpack(form, self.read(struct.calcsize(form)))[0])
        elif opcode in _TEXTS:
            self.stack.append(self.text(self.number(_TEXTS[opcode])))
        elif opcode in _BYTES:
            self.stack.append(self.bytes(self.number(_BYTES[opcode])))
        elif opcode in _GETS:
            self.stack.append(self.memo[self.number(_GETS[opcode])])
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in _LONGS:
            length = self.number(_LONGS[opcode])
            if length > LONGEST_NUMBER:
                raise ValueError(f"a whole number in it has {length} bytes")
            self.stack.append(int.from_bytes(self.read(length), "little", signed=True))
        elif opcode in _PUTS:
            self.memo[self.number(_PUTS[opcode])] = self.stack[-1]
        elif opcode == b"\x94":
            self.memo[len(self.memo)] = self.stack[-1]
        else:
            self.gather(opcode)

    def gather(self, opcode: bytes) -> None:
        """Carry out an opcode that makes lists, tuples and tables of what is on the stack, or takes from it."""
        if opcode in _TUPLES:
            count = _TUPLES[opcode]
            values = tuple(self.stack[len(self.stack) - count :])
            if len(values) != count:
                raise ValueError("it is damaged")
            del self.stack[len(self.stack) - count :]
            self.stack.append(values)
        elif opcode == b"(":
            self.marks.append(len(self.stack))
        elif opcode in (b"t", b"l", b"d"):
            values = tuple(self.marked())
            made: Any = values if opcode == b"t" else list(values) if opcode == b"l" else {}
            if opcode == b"d":
                self.put_in(made, values)
            self.stack.append(made)
        elif opcode in (b"]", b"}"):
            self.stack.append([] if opcode == b"]" else {})
        elif opcode in (b"a", b"e"):
            added = self.marked() if opcode == b"e" else [self.stack.pop()]
            self.last(list).extend(added)
        elif opcode in (b"s", b"u"):
            pairs = self.marked() if opcode == b"u" else [self.stack.pop(-2), self.stack.pop()]
            self.put_in(self.last(dict), tuple(pairs))
        elif opcode == b"0":
            self.stack.pop()
        elif opcode == b"1":
            self.marked()
        elif opcode == b"2":
            self.stack.append(self.stack[-1])
        else:
            self.make(opcode)

    def make(self, opcode: bytes) -> None:
        """Carry out an opcode that would call something: an array is put together, and all else is refused."""
        if opcode == b"\x95":
            self.number(8)  # the length of a frame, which only says how to read ahead
        elif opcode == b"c":
            self.name(self.line(), self.line())
        elif opcode == b"\x93":
            name, module = self.stack.pop(), self.stack.pop()
            self.name(module, name)
        elif opcode == b"R":
            arguments, known = self.stack.pop(), self.stack.pop()
            if not isinstance(known, _Known) or not isinstance(arguments, tuple):
                raise ValueError("it calls what is no function")
            made = _made(known, arguments)
            if isinstance(made, PickledArray):
                self.arrays.append(made)
            self.stack.append(made)
        elif opcode == b"b":
            state = self.stack.pop()
            _build(self.stack[-1], state)
        elif opcode in _REFUSED:
            raise ValueError(f"it holds {_REFUSED[opcode]}, and only arrays, texts, numbers, lists and tables are read")
        else:
            raise ValueError(f"it has the opcode {opcode!r}, which no pickle of protocol 2 to 5 has here")

    def name(self, module: Any, name: Any) -> None:
        full = f"{_text(module)}.{_text(name)}"
        if full not in _KNOWN:
            raise ValueError(
                f"it asks for {short(full)}, and only arrays, texts, numbers, lists and tables are read; nothing of it "
                "was run"
            )
        self.stack.append(_Known(_KNOWN[full]))

    def read(self, length: int) -> bytes:
        content = self.file.read(length)
        if len(content) != length:
            raise ValueError("it is cut off")
        return content

    def number(self, length: int) -> int:
        return int.from_bytes(self.read(length), "little")

    def line(self) -> str:
        line = self.file.readline(LONGEST_NAME + 1)
        if not line.endswith(b"\n"):
            raise ValueError("it is damaged")
        return line[:-1].decode("utf-8")

    def text(self, length: int) -> str | Span:
        content = self.bytes(length)
        return content.decode("utf-8", "surrogatepass") if isinstance(content, bytes) else content

    def bytes(self, length: int) -> bytes | Span:
        if length <= LONGEST_TEXT:
            return self.read(length)
        start = self.file.tell()
        if start + length > self.size:
            raise ValueError("it is cut off")
        self.file.seek(length, 1)
        return Span(start, length)

    def marked(self) -> list[Any]:
        """Take the values after the last mark from the stack."""
        start = self.marks.pop()
        if start > len(self.stack):
            raise ValueError("it is damaged")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def last(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError("it is damaged")
        return self.stack[-1]

    @staticmethod
    def put_in(table: dict[Any, Any], pairs: tuple[Any, ...]) -> None:
        if len(pairs) % 2:
            raise ValueError("it is damaged")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not (isinstance(key, str | bytes) or (type(key) is int and abs(key) < 1 << 31)):
                raise ValueError(f"a table in it has the key {short(key)}, which is no text")
            table[_text(key) if isinstance(key, bytes) else key] = value  # Python 2 writes its texts as bytes


def _made(known: _Known, arguments: tuple[Any, ...]) -> Any:
    """The value that a call of one of the known names would give."""
    if known.does == "multiarray._reconstruct" and len(arguments) == 3 and arguments[0] == _Known("ndarray"):
        return PickledArray()
    if known.does == "dtype" and arguments:
        code = _text(arguments[0])
        if not _DTYPE.fullmatch(code):
            raise ValueError(f"it has an array of the type {short(code)}; numbers, texts and lists of them are read")
        return _Dtype(code)
    if known.does == "multiarray.scalar" and len(arguments) == 2 and isinstance(arguments[0], _Dtype):
        return _scalar(*arguments)
    if known.does == "numeric._frombuffer" and len(arguments) == 4:
        content, dtype, shape, order = arguments
        array = PickledArray()
        array.fill(shape, dtype, _text(order) == "F", content)
        return array
    if known.does == "encode" and len(arguments) == 2 and _text(arguments[1]) in ("latin1", "latin-1"):
        text = arguments[0]
        return text._replace(is_latin=True) if isinstance(text, Span) else _latin(text)
    if known.does == "bytes" and (not arguments or (len(arguments) == 1 and isinstance(arguments[0], bytes | Span))):
        return arguments[0] if arguments else b""
    raise ValueError(f"it calls {known.does} in a way that NumPy does not")


def _build(target: Any, state: Any) -> None:
    """Tell an array its content, or a type its byte order."""
    if isinstance(target, PickledArray) and isinstance(state, tuple) and len(state) == 5:
        target.fill(*state[1:])
    elif isinstance(target, _Dtype) and isinstance(state, tuple) and len(state) in (8, 9):
        order = _text(state[1])
        if any(part is not None for part in state[2:5]) or order not in ("<", ">", "|", "="):
            raise ValueError("it has an array of tables; numbers, texts and lists of them are read")
        target.order = "<" if order == "=" else order
    else:
        raise ValueError("it gives a state to what has none")


def _scalar(dtype: _Dtype, content: Any) -> Any:
    if dtype.code[0] == "O" or not isinstance(content, bytes) or len(content) != dtype.numpy.itemsize:
        raise ValueError("a number in it is of no known form")
    return np.frombuffer(content, dtype.numpy)[0].item()


def _text(value: Any) -> str:
    """A short text, which Python 2 writes as bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise ValueError("it is damaged")
    return value


def _latin(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("it is damaged")
    return text.encode("latin-1")
