#include "loads.h"

/* 1k to 128k tokens, seconds as a model's with quadratic attention: 1 s at 1k. */
#define MIXED(n)                                                                                                                           \
    {                                                                                                                                      \
        {n, 1, 1024}, {n, 2.1, 2048}, {n, 4.4, 4096}, {n, 9.6, 8192}, {n, 22.4, 16384}, {n, 57.6, 32768}, {n, 166, 65536},                 \
        {                                                                                                                                  \
            n, 538, 131072                                                                                                                 \
        }                                                                                                                                  \
    }
#define ROOM 131072, 4096
#define MOST(x) .most = x, .most_text = #x

const load loads[] = {
    {"equal", 1, {{1000, 1, 1024}}, ROOM, .spread = 1, MOST(1.10)},
    {"equal", 2, {{1000, 1, 1024}}, ROOM, .spread = 1, MOST(1.10), .late = 0.05},
    {"equal", 16, {{10000, 1, 1024}}, ROOM, .spread = 1, MOST(1.10), .late = 0.05},
    {"equal", 4096, {{409600, 1, 1024}}, ROOM, .spread = 1, MOST(1.10), .late = 0.05},
    {"equal, one more than divides", 4096, {{4097, 100, 1024}}, ROOM, .spread = 1},
    {"equal, noise 50%", 256, {{51200, 1, 1024}}, ROOM, .spread = 1, .noise = 0.5, MOST(1.10), .late = 0.05},
    {"generation", 16, {{10000, 1, 1024}}, ROOM, .spread = 1, .noise = 0.3, .together = true, MOST(1.10), .late = 0.05},
    {"generation, speeds 1 to 2", 256, {{51200, 1, 1024}}, ROOM, .spread = 2, .noise = 0.3, .together = true, MOST(1.10), .late = 0.05},
    {"short units", 32, {{1000000, 0.002, 64}}, 16384, 4096, .spread = 1.5, .noise = 0.3, MOST(1.10), .late = 0.05},
    {"mixed 1k to 128k", 4, MIXED(50), ROOM, .spread = 1, MOST(1.10), .late = 0.05},
    {"mixed 1k to 128k", 64, MIXED(500), ROOM, .spread = 1, MOST(1.10), .late = 0.05},
    {"mixed 1k to 128k", 1024, MIXED(10000), ROOM, .spread = 1, .noise = 0.2, MOST(1.10), .late = 0.05},
    {"mixed, speeds 1 to 2", 64, MIXED(500), ROOM, .spread = 2, MOST(1.10), .late = 0.05},
    {"mixed, speeds 1 to 2", 1024, MIXED(10000), ROOM, .spread = 2, .noise = 0.2, MOST(1.10), .late = 0.05},
    {"mixed, generation", 64, MIXED(500), 1048576, 4096, .spread = 1.5, .noise = 0.2, .together = true, MOST(1.10), .late = 0.05},
    {"one giant", 16, {{1, 600, 131072}, {9000, 1, 1024}}, ROOM, .spread = 1, MOST(1.10), .late = 0.05},
    {"one giant is the bound", 16, {{1, 2000, 131072}, {9000, 1, 1024}}, ROOM, .spread = 1, MOST(1.10)},
    {"few huge", 4, {{12, 1000, 131072}}, ROOM, .spread = 1, MOST(1.10), .late = 0.05},
    {"few huge, speeds 1 to 2", 4, {{24, 1000, 131072}}, ROOM, .spread = 2},
    {"huge and small, speeds 1 to 2", 8, {{24, 1000, 131072}, {8000, 1, 1024}}, ROOM, .spread = 2, MOST(1.10), .late = 0.05},
    {"a replica hangs", 16, {{10000, 1, 1024}}, ROOM, .spread = 1, .stuck = true, MOST(1.10)},
    {"a million, 1 s", 4096, {{1000000, 1, 1024}}, ROOM, .spread = 1, .noise = 0.3, MOST(1.10), .late = 0.05},
    {"a million, speeds 1 to 2", 4096, {{1000000, 1, 1024}}, ROOM, .spread = 2, .noise = 0.3, MOST(1.10), .late = 0.05},
    {"a million mixed", 4096, MIXED(125000), ROOM, .spread = 2, .noise = 0.3, MOST(1.10), .late = 0.05},
};
const size_t n_loads = sizeof loads / sizeof *loads;
