#!/usr/bin/env python3
# mlp.py LIBTENON DIGITS_CSV - an MLP learns the digits through a binding without macros, headers or
# generated code: what another language needs of Tenon. SPDX-License-Identifier: Apache-2.0
import csv
import ctypes as c
import random
import sys

# ---- The structs of the headers, as they lie in memory ------------------------------------------
struct = lambda *fields: type("struct", (c.Structure,), {"_fields_": list(fields)})
Dtype = struct(("code", c.c_uint8), ("bits", c.c_uint8), ("lanes", c.c_uint16))
Value = struct(("tag", c.c_int32), ("aux", c.c_uint32), ("bits", c.c_uint64))
Ints = struct(("ptr", c.POINTER(c.c_int64)), ("n", c.c_int64))
Scope = struct(("mark", c.c_uint64), ("thread", c.c_uint64))
OpInfo = struct(("size", c.c_uint32), ("traits", c.c_uint32), ("texts", c.c_char_p * 6),
                ("has", c.c_bool * 8), ("form_and_base", c.c_char_p * 2), ("n_args", c.c_uint32),
                ("n_results", c.c_uint32))
ArgInfo = struct(("size", c.c_uint32), ("flags", c.c_uint32), ("name", c.c_char_p),
                 ("type", c.c_char_p), ("default", Value), ("count", c.c_int32), ("_", c.c_int32))
BOOL, INT, FLOAT, INTS, TENSOR, TENSORS = 1, 2, 3, 7, 9, 10  # TN_TAG_*
F32, I64 = Dtype(2, 32, 1), Dtype(0, 64, 1)
LeafHook = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p)

lib = c.CDLL(sys.argv[1])
for results, arguments, names in (
    (c.c_int, [c.c_void_p], "drop backward zero_grad"),
    (c.c_void_p, [c.c_void_p], "keep grad_of"),
    (c.c_double, [c.c_void_p], "item"),
    (c.c_char_p, [], "error_message"),
    (c.c_char_p, [c.c_int], "status_name"),
    (c.c_bool, [c.c_bool], "set_grad_enabled"),
    (c.c_int, [c.c_void_p, c.c_bool], "set_requires_grad"),
    (c.c_int, [c.c_void_p, c.c_void_p, c.c_uint64], "read"),
    (c.c_uint64, [c.c_void_p, LeafHook, c.c_void_p], "accumulated_hook"),
    (c.c_void_p, [c.c_void_p, Ints, Dtype], "from"),
    (Scope, [], "scope_push"),
    (c.c_int, [Scope], "scope_pop"),
):
    for f in (getattr(lib, "tn_" + name) for name in names.split()):
        f.restype, f.argtypes = results, arguments

# ---- The binding ---------------------------------------------------------------------------------
Error = type("Error", (Exception,), {})


def check(result=None):
    if code := lib.tn_error():
        text = lib.tn_status_name(code) + b": " + lib.tn_error_message()
        lib.tn_clear_error()
        raise Error(text.decode())
    return result


def in_scope(work):
    scope = lib.tn_scope_push()
    try:
        return work()
    finally:
        lib.tn_scope_pop(scope)


class Tensor:
    def __init__(self, at):
        self.at = lib.tn_keep(check(at))

    def __del__(self):
        lib.tn_drop(self.at)


def tensor(numbers, sizes, dtype=F32):
    data = ((c.c_float if dtype is F32 else c.c_int64) * len(numbers))(*numbers)
    shape = Ints((c.c_int64 * len(sizes))(*sizes), len(sizes))
    return in_scope(lambda: Tensor(lib.tn_from(data, shape, dtype)))


def value(x, alive):  # what it points to is put into alive
    if isinstance(x, Tensor):
        return Value(TENSOR, 0, x.at)
    if isinstance(x, (bool, int)):
        return Value(BOOL if isinstance(x, bool) else INT, 0, x & (1 << 64) - 1)
    if isinstance(x, float):
        return Value(FLOAT, 0, c.c_uint64.from_buffer_copy(c.c_double(x)).value)
    alive.append((c.c_uint64 * len(x))(*[value(i, alive).bits for i in x]))
    return Value(TENSORS if isinstance(x[0], Tensor) else INTS, len(x), c.addressof(alive[-1]))


class Op:
    def __init__(self, name):
        self.name, self.info = name.encode(), OpInfo(c.sizeof(OpInfo))
        check(lib.tn_op_find(self.name, c.byref(self.info)))

    def argument(self, i):
        info = ArgInfo(c.sizeof(ArgInfo))
        check(lib.tn_op_arg(self.name, i, c.byref(info)))
        return f"{info.type.decode()} {info.name.decode()}"

    # [call.begin]
    def __call__(self, *args, **named):
        alive, n, n_outs = [], len(args) + len(named), self.info.n_results
        values, outs = (Value * n)(*[value(x, alive) for x in (*args, *named.values())]), (Value * n_outs)()
        names = (c.c_char_p * n)(*[None] * len(args), *[k.encode() for k in named])
        call = lambda: check(lib.tn_op_call_named(self.name, names, values, n, outs, n_outs))
        tensors = in_scope(lambda: [call()] and [Tensor(out.bits) for out in outs])
        return tensors[0] if n_outs == 1 else tensors
    # [call.end]


# ---- The MLP -------------------------------------------------------------------------------------
rows = [[float(n) for n in row] for row in csv.reader(open(sys.argv[2]))]
random.Random(1).shuffle(rows)
train, test = rows[:1500], rows[1500:]
linear, relu, cross_entropy, mul, sub_, argmax = map(Op, "linear relu cross_entropy mul sub_ argmax".split())
assert [linear.argument(i) for i in range(linear.info.n_args)] == ["Tensor x", "Tensor w", "Tensor b"]

normal = random.Random(2).gauss
w1, w2 = (tensor([normal(0, n**-0.5) for _ in range(m * n)], (m, n)) for m, n in ((32, 64), (10, 32)))
b1, b2 = (tensor([0.0] * m, (m,)) for m in (32, 10))


def forward(rows):
    x = tensor([n / 16 for row in rows for n in row[:64]], (len(rows), 64))
    return linear(relu(linear(x, w1, b1)), w2, b=b2)


@LeafHook
def step(_, leaf):  # the optimizer, as soon as a gradient is whole; a failure ends the pass
    try:
        lib.tn_set_grad_enabled(False)
        sub_(Tensor(leaf), mul(Tensor(lib.tn_grad_of(leaf)), 0.2))
        lib.tn_zero_grad(leaf)
    except Error as error:
        lib.tn_raise(2, b"%s", str(error).encode())


for parameter in (w1, b1, w2, b2):
    lib.tn_set_requires_grad(parameter.at, True)
    check(lib.tn_accumulated_hook(parameter.at, step, None))
for i in range(0, 15 * len(train), 20):
    batch = [train[k % len(train)] for k in range(i, i + 20)]
    loss = cross_entropy(forward(batch), tensor([int(row[64]) for row in batch], (20,), I64))
    check(lib.tn_backward(loss.at))
guesses, best = (c.c_int64 * len(test))(), argmax(forward(test), dim=1)
check(lib.tn_read(best.at, guesses, c.sizeof(guesses)))
right = sum(guess == row[64] for guess, row in zip(guesses, test)) / len(test)
print(f"loss {lib.tn_item(loss.at):.3f}, {100 * right:.1f} % of {len(test)} digits right")
assert right > 0.93
try:
    cross_entropy(loss, loss, ignore_idnex=3)
except Error as error:
    assert str(error).endswith("has no argument 'ignore_idnex'; did you mean 'ignore_index'?"), error
