#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch as a peer of //bench:ops: whichever torch this Python imports. bench/peer.h has the protocol.

A problem is a function that makes its inputs and returns (call, check): call() is what is timed,
check() gives the tensor (or list of numbers) that both sides must agree on.
"""
import json
import os
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

MILLION = (1024, 1024)
PROBLEMS = {}


def given(*sizes, seed=0):
    """bench_input of peer.h, for every element."""
    n = 1
    for s in sizes:
        n *= s
    i = torch.arange(n, dtype=torch.int64) + (seed * 7919 + 1)
    bits = (i * 2654435761) & 0xFFFFFFFF
    return ((bits >> 8).to(torch.float32) * 2.0**-22 - 2).reshape(sizes)


def problem(make):
    PROBLEMS[make.__name__] = make
    return make


def without_grad(fn, *args):
    def call():
        with torch.no_grad():
            return fn(*args)

    return call, call


def of_a_million(name, fn):
    PROBLEMS[name] = lambda: without_grad(fn, given(*MILLION))


of_a_million("exp", torch.exp)
of_a_million("tanh", torch.tanh)
of_a_million("sigmoid", torch.sigmoid)
of_a_million("gelu", F.gelu)
of_a_million("softmax", lambda x: torch.softmax(x, 1))
of_a_million("layer_norm", lambda x: F.layer_norm(x, x.shape[1:]))
of_a_million("dropout", lambda x: F.dropout(x, 0.1))
of_a_million("sum", torch.sum)
of_a_million("transpose_copy", lambda x: x.t().clone(memory_format=torch.contiguous_format))
of_a_million("cumsum", lambda x: torch.cumsum(x, 1))
of_a_million("sort", lambda x: torch.sort(x, 1)[0])
of_a_million("argmax", lambda x: torch.argmax(x, 1).to(torch.float64))
of_a_million("to_bf16", lambda x: x.to(torch.bfloat16))
of_a_million("bf16_softmax", lambda x, h={}: torch.softmax(h.setdefault(0, x.bfloat16()), 1))


@problem
def gelu_tanh():
    return without_grad(lambda x: F.gelu(x, approximate="tanh"), given(*MILLION))


@problem
def add():
    return without_grad(torch.add, given(*MILLION), given(*MILLION, seed=1))


@problem
def cat():
    return without_grad(lambda a, b: torch.cat([a, b]), given(*MILLION), given(*MILLION, seed=1))


@problem
def gather():
    index = (torch.arange(MILLION[0] * MILLION[1]) * 7919 % MILLION[1]).reshape(MILLION)
    return without_grad(lambda x: torch.gather(x, 1, index), given(*MILLION))


@problem
def add_large():
    return without_grad(torch.add, given(1 << 25), given(1 << 25, seed=1))


@problem
def sum_large():
    return without_grad(torch.sum, given(1 << 25))


@problem
def add_8():
    return without_grad(torch.add, given(8), given(8, seed=1))


@problem
def add_8_recorded():
    a, b = given(8).requires_grad_(), given(8, seed=1)
    return (lambda: torch.add(a, b)), (lambda: torch.add(a, b))


@problem
def chain_of_50():
    x, y = given(8).requires_grad_(), torch.ones(8)

    def call():
        z = x
        for _ in range(50):
            z = z * y
        z.sum().backward()
        x.grad = None
        return z

    return call, call


def matmul(n, dtype):
    a, b = given(n, n).to(dtype), given(n, n, seed=1).to(dtype)
    return without_grad(torch.matmul, a, b)


for n in (16, 64, 256, 1024):
    PROBLEMS["matmul_%d" % n] = lambda n=n: matmul(n, torch.float32)
PROBLEMS["matmul_bf16_1024"] = lambda: matmul(1024, torch.bfloat16)


def mlp(widths, batch):
    """One step of SGD on a stack of linear layers; the check is the loss after three."""
    layers = []
    for k in range(len(widths) - 1):
        scale = widths[k] ** -0.5
        w = (given(widths[k + 1], widths[k], seed=2 + k) * scale).requires_grad_()
        layers.append((w, torch.zeros(widths[k + 1], requires_grad=True)))
    x, target = given(batch, widths[0]), torch.arange(batch) % widths[-1]
    optimizer = torch.optim.SGD([p for layer in layers for p in layer], lr=0.01)

    def call():
        y = x
        for k, (w, b) in enumerate(layers):
            y = F.linear(torch.relu(y) if k else y, w, b)
        loss = F.cross_entropy(y, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    def check():
        return [float(call().detach()) for _ in range(3)]

    return call, check


@problem
def mlp_tiny():
    return mlp([16, 32, 32, 4], 1)


@problem
def mlp_mnist():
    return mlp([784, 128, 128, 10], 32)


@problem
def adamw():
    p = given(1 << 23).requires_grad_()
    p.grad = given(1 << 23, seed=1)
    try:
        optimizer = torch.optim.AdamW([p], lr=1e-3, fused=True)
        optimizer.step()
        p.data.copy_(given(1 << 23))
        optimizer = torch.optim.AdamW([p], lr=1e-3, fused=True)
    except (RuntimeError, TypeError):
        optimizer = torch.optim.AdamW([p], lr=1e-3)

    def check():
        optimizer.step()
        return p.detach()

    return optimizer.step, check


def numbers(result):
    """What both sides compare: a mean, and some elements."""
    if isinstance(result, list):
        return result
    flat = result.detach().to(torch.float64).reshape(-1)
    n = flat.numel()
    return [float(flat.abs().mean())] + [float(flat[i]) for i in (0, n // 3, n - 1)]


def main():
    call = None
    version = "torch " + torch.__version__
    for line in sys.stdin:
        question = json.loads(line)
        if "problem" in question:
            torch.set_num_threads(question["threads"])
            make = PROBLEMS.get(question["problem"])
            answer = {"version": version, "absent": "unknown problem"}
            if make:
                call, check = make()
                answer = {"version": version, "check": numbers(check())}
        else:
            start = time.perf_counter()
            for _ in range(question["run"]):
                call()
            answer = {"seconds": time.perf_counter() - start}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
