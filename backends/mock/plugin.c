/* plugin.c - mock: devices mock:0 and mock:1, for tests of all that a GPU needs, without one.
 *
 * Options: capacity (bytes), latency_ns, fail_alloc=N, lose_at=N, on_caller=1, peers=0, crooked=1.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/mock/mock.h"

#include <stdlib.h>

mock_options mock;

static uint64_t option(const tn_host *host, tn_plugin *self, const char *key, uint64_t absent) {
    const char *text = host->option(self, key);
    char *end = NULL;
    const uint64_t n = text ? strtoull(text, &end, 10) : absent;
    return text && (end == text || *end) ? absent : n;
}

static tn_status start(const tn_host *host, tn_plugin *self) {
    mock.capacity = option(host, self, "capacity", UINT64_C(1) << 32);
    mock.latency_ns = option(host, self, "latency_ns", 0);
    mock.fail_alloc = (int64_t)option(host, self, "fail_alloc", 0);
    mock.lose_at = (int64_t)option(host, self, "lose_at", 0);
    mock.on_caller = option(host, self, "on_caller", 0) != 0;
    mock.peers = option(host, self, "peers", 1) != 0;
    mock.crooked = option(host, self, "crooked", 0) != 0;
    if (!mock_memory_open())
        return tnk_fail_start(TN_ERR_NOMEM, "no address space for two devices of %llu bytes",
                              (unsigned long long)mock.capacity);
    host->describe(self,
                   mock.on_caller ? "two devices, without threads" : "two devices of threads");
    const tn_status s = host->add_driver(self, &mock_driver);
    if (s != TN_OK) return s;
    return host->add_kernels(self, mock_kernels.rows, mock_kernels.n, sizeof *mock_kernels.rows);
}

TN_PLUGIN("mock", "0.1.0", "driver,kernels", "Apache-2.0", "", start, NULL);
