/* Shared memory, copies and products of the machine: see hopper_machine.h. */
#include <assert.h>

#include <deque>

#include "simt/hopper_state.h"

using namespace hopper;

enum { CHUNK = 16 };

/* 16 bytes of shared memory: its last write, and the last product of each warpgroup that reads it. */
struct chunk {
    int writer = -1;
    uint32_t when = 0;
    bool unpublished = false; /* an ordinary store that no proxy fence followed */
    uint32_t read[GROUPS] = {};
};

struct copy {
    uint32_t to;
    rs_machine_map map;
    int x, y, z;
    mbarrier *barrier;
    uint32_t when;
    history issued;
};

/* A product of a warpgroup, once all of its threads have issued it. */
struct product {
    rs_machine_product shape;
    uint32_t number; /* from 1, of the warpgroup */
    uint32_t group;
    int issued = 0;
    float *d[GROUP];
    uint32_t fragment[GROUP][4];
    const uint32_t *fragment_of[GROUP];
};

static chunk chunks[SHARED / CHUNK];
static unsigned char memory[SHARED];
static int shared_bytes;
static std::vector<copy> copies;
static std::deque<product> products[GROUPS]; /* of a warpgroup, in order; executed ones leave */
static uint32_t executed[GROUPS];            /* products */
static uint32_t groups_done[GROUPS];         /* all products of groups below are executed */
static std::vector<uint32_t> newest[GROUPS]; /* product of each group */

static const uint32_t POISON = 0x7fa5a5a5; /* a NaN */

/* --- shared memory --- */

static chunk *chunk_at(uint32_t address)
{
    if (address % CHUNK || address < BASE || address + CHUNK > (uint32_t)(BASE + shared_bytes))
        fail("16 bytes at %#x of shared memory, which lies from %#x to %#x", address, BASE, BASE + shared_bytes);
    return &chunks[(address - BASE) / CHUNK];
}

/* What wrote the chunk came before what the running thread does now, and can be seen by copies and products. */
static void check_written(const chunk *c, uint32_t address)
{
    if (c->writer < 0)
        fail("%#x is read before it is written", address);
    if (c->unpublished)
        fail("%#x was stored by thread %d with no proxy fence since", address, c->writer);
    if (self().before.at[c->writer] < c->when)
        fail("%#x is touched with nothing that orders it after its writer, %d", address, c->writer);
}

static void check_free(const chunk *c, uint32_t address)
{
    for (int group = 0; group < GROUPS; group++)
        for (int of = 0; of < GROUP / 32; of++)
            if (self().before.at[PRODUCTS + group * (GROUP / 32) + of] < c->read[group])
                fail("%#x is overwritten while product %u of warpgroup %d may read it", address, c->read[group], group);
}

uint32_t rs_hopper_shared()
{
    return (BASE + RS_HOPPER_PATTERN - 1) / RS_HOPPER_PATTERN * RS_HOPPER_PATTERN;
}

void rs_hopper_store16(uint32_t to, uint4 x)
{
    chunk *c = chunk_at(to);
    if (c->writer >= 0 && self().before.at[c->writer] < c->when)
        fail("%#x is stored to with nothing that orders it after its writer, %d", to, c->writer);
    check_free(c, to);
    c->writer = rs_fiber_now.thread;
    c->unpublished = true;
    c->when = tick();
    self().stored.push_back((to - BASE) / CHUNK);
    memcpy(memory + (to - BASE), &x, CHUNK);
}

void rs_hopper_publish()
{
    uint32_t now = tick();
    for (uint32_t i : self().stored)
        if (chunks[i].writer == rs_fiber_now.thread) {
            chunks[i].unpublished = false;
            chunks[i].when = now;
        }
    self().stored.clear();
}

/* "Tensor Swizzling Modes", "Shared Memory Matrix Layout": the 128-byte swizzle exclusive-ors address bits 4-6 with bits 7-9. */
static uint32_t swizzled(uint32_t address)
{
    return address ^ (address >> 3 & 0x70);
}

static uint16_t load16(uint32_t address)
{
    uint16_t x;
    assert(address >= BASE && address + 2 <= (uint32_t)(BASE + shared_bytes));
    memcpy(&x, memory + (address - BASE), sizeof x);
    return x;
}

/* --- copies --- */

void rs_tensor_map_acquire(const void *map)
{
    self().maps.push_back(map);
}

void rs_tensor_copy(uint32_t to, const void *map, int x, int y, int z, uint32_t barrier)
{
    bool acquired = false;
    for (const void *known : self().maps)
        acquired = acquired || known == map;
    if (!acquired)
        fail("a tensor map that this thread has not acquired");
    if (!mbarrier_at(barrier)->published)
        fail("a copy to an mbarrier that was not made known");
    copy made = {to, *(const rs_machine_map *)map, x, y, z, mbarrier_at(barrier), 0, {}};
    if (to % 1024 || x % 64 || x >= made.map.width || y < 0 || y >= made.map.tokens || z < 0 || z >= made.map.planes)
        fail("a box at (%d, %d, %d) of [%lld][%lld][%lld] to %#x", x, y, z, (long long)made.map.planes, (long long)made.map.tokens,
             (long long)made.map.width, to);
    tick();
    int clock = COPIES + made.barrier->number;
    made.when = made.barrier->phase + 1;
    for (uint32_t at = to; at < to + (uint32_t)made.map.box * 128; at += CHUNK) {
        chunk *c = chunk_at(at);
        if (c->writer >= 0)
            check_written(c, at);
        check_free(c, at);
        c->writer = clock;
        c->when = made.when;
    }
    made.issued = self().before;
    copies.push_back(made);
    breathe();
}

static void finish_copy(const copy &made)
{
    for (int row = 0; row < made.map.box; row++)
        for (int column = 0; column < 64; column++) {
            int64_t token = made.y + row;
            uint16_t value = 0;
            if (token < made.map.tokens)
                value = made.map.base[(made.z * made.map.tokens + token) * made.map.width + made.x + column];
            uint32_t at = swizzled(made.to + (uint32_t)(row * 128 + column * 2));
            memcpy(memory + (at - BASE), &value, sizeof value);
        }
    mbarrier *barrier = made.barrier;
    barrier->arrived.join(made.issued);
    barrier->arrived.at[COPIES + barrier->number] = made.when;
    barrier->bytes -= made.map.box * 128;
    complete(barrier);
}

/* --- products --- */

/* Address of an operand's element: outer index (row of a, column of d), inner index below 16. */
static uint32_t element_at(uint64_t descriptor, bool across, int outer, int inner)
{
    uint32_t start = (uint32_t)(descriptor & 0x3fff) << 4, leading = (uint32_t)(descriptor >> 16 & 0x3fff) << 4,
             stride = (uint32_t)(descriptor >> 32 & 0x3fff) << 4;
    int line = across ? inner : outer;
    uint32_t at = start + (uint32_t)(line / 8) * stride + (uint32_t)(line % 8) * 128;
    return swizzled(at + (across ? (uint32_t)(outer / 64) * leading + (uint32_t)(outer % 64) * 2 : (uint32_t)inner * 2));
}

static float bf16(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void read_operand(uint64_t descriptor, bool across, int outers, uint32_t number)
{
    if (descriptor >> 62 != 1 || descriptor & 0x3ffec000c000c000u)
        fail("descriptor %#llx", (unsigned long long)descriptor);
    for (int outer = 0; outer < outers; outer++)
        for (int inner = 0; inner < 16; inner++) {
            uint32_t at = element_at(descriptor, across, outer, inner) / CHUNK * CHUNK;
            chunk *c = chunk_at(at);
            check_written(c, at);
            c->read[rs_fiber_now.thread / GROUP] = number;
        }
}

static loan *loan_of(thread_state &of, const float *d)
{
    for (loan &each : of.loans)
        if (each.d == d)
            return &each;
    return NULL;
}

static void lend(float *d, int n, uint32_t group)
{
    loan *lent = loan_of(self(), d);
    if (!lent) {
        self().loans.push_back({d, n, 0, {}});
        lent = &self().loans.back();
        memcpy(lent->value, d, (size_t)n * sizeof *d);
        for (int i = 0; i < n; i++)
            memcpy(d + i, &POISON, sizeof POISON);
    }
    lent->until = group + 1;
}

void rs_wgmma_begin()
{
    self().fenced = true;
}

void rs_machine_issue(const rs_machine_product &shape)
{
    int thread = rs_fiber_now.thread, group = thread / GROUP, of_group = thread % GROUP;
    if (!self().fenced)
        fail("a product with no wgmma.fence in its group");
    std::deque<product> &queue = products[group];
    uint32_t number = ++self().issued;
    if (number == executed[group] + queue.size() + 1) {
        queue.emplace_back();
        queue.back().shape = shape;
        queue.back().number = number;
        queue.back().group = self().committed;
        newest[group].resize(self().committed + 1);
        newest[group].back() = number;
    }
    product &mine = queue[number - executed[group] - 1];
    if (mine.number != number || mine.group != self().committed || mine.shape.n != shape.n || mine.shape.a != shape.a ||
        mine.shape.b != shape.b || mine.shape.add != shape.add || !mine.shape.fragment != !shape.fragment)
        fail("product %u of a warpgroup is not the same on all of its threads", number);
    if (thread % 32 == 0) {
        if (!shape.fragment)
            read_operand(shape.a, false, 64, number);
        read_operand(shape.b, shape.fragment != NULL, shape.n, number);
    }
    lend(shape.d, shape.n / 2, self().committed);
    mine.d[of_group] = shape.d;
    mine.fragment_of[of_group] = shape.fragment;
    if (shape.fragment)
        memcpy(mine.fragment[of_group], shape.fragment, sizeof mine.fragment[of_group]);
    mine.issued++;
    breathe();
}

void rs_wgmma_commit()
{
    self().committed++;
    self().fenced = false;
}

/* "Register Fragments": a's element (row, k), from the thread's registers. */
static float fragment_element(const product &it, int row, int k)
{
    int thread = row / 16 * 32 + row % 8 * 4 + k % 8 / 2;
    uint32_t pair = it.fragment[thread][k / 8 * 2 + row % 16 / 8];
    return bf16((uint16_t)(k % 2 ? pair >> 16 : pair));
}

static void execute(int group)
{
    product &it = products[group].front();
    static float a[64][16], b[256][16];
    for (int k = 0; k < 16; k++) {
        for (int row = 0; row < 64; row++)
            a[row][k] = it.shape.fragment ? fragment_element(it, row, k) : bf16(load16(element_at(it.shape.a, false, row, k)));
        for (int column = 0; column < it.shape.n; column++)
            b[column][k] = bf16(load16(element_at(it.shape.b, it.shape.fragment != NULL, column, k)));
    }
    for (int row = 0; row < 64; row++)
        for (int column = 0; column < it.shape.n; column++) {
            int thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
            float *value = loan_of(state_of(group * GROUP + thread), it.d[thread])->value + column / 8 * 4 + row % 16 / 8 * 2 + column % 2;
            double sum = it.shape.add ? *value : 0;
            for (int k = 0; k < 16; k++)
                sum += (double)a[row][k] * b[column][k];
            *value = (float)sum;
        }
    for (int thread = 0; thread < GROUP; thread++)
        if (it.shape.fragment && memcmp(it.fragment_of[thread], it.fragment[thread], sizeof it.fragment[thread]))
            fail("thread %d changed a fragment of product %u, which was under way", group * GROUP + thread, it.number);
    executed[group]++;
    uint32_t finished = it.group;
    products[group].pop_front();
    if (products[group].empty() || products[group].front().group != finished)
        groups_done[group] = finished + 1;
}

static bool can_execute(int group)
{
    return !products[group].empty() && products[group].front().issued == GROUP;
}

void rs_machine_wait(int unfinished)
{
    int thread = rs_fiber_now.thread, group = thread / GROUP;
    uint32_t until = self().committed < (uint32_t)unfinished ? 0 : self().committed - (uint32_t)unfinished;
    /* A group whose last product was executed is done only once no thread will add to it: all have committed it. */
    wait_until([=] {
        bool open = !products[group].empty() && products[group].front().group < until;
        return !open && groups_done[group] >= until;
    });
    if (until == 0)
        return;
    self().before.at[PRODUCTS + thread / 32] = newest[group][until - 1];
    for (size_t i = self().loans.size(); i-- > 0;) {
        loan &each = self().loans[i];
        if (each.until > until)
            continue;
        for (int k = 0; k < each.n; k++)
            if (memcmp(each.d + k, &POISON, sizeof POISON))
                fail("an accumulator was written while a product had it");
        memcpy(each.d, each.value, (size_t)each.n * sizeof(float));
        self().loans.erase(self().loans.begin() + (long)i);
    }
}

/* --- what is under way --- */

void hopper::engine_reset(int bytes)
{
    shared_bytes = bytes;
    memset(memory, 0xff, sizeof memory);
    for (chunk &each : chunks)
        each = chunk();
    copies.clear();
    for (int group = 0; group < GROUPS; group++) {
        products[group].clear();
        newest[group].clear();
        executed[group] = groups_done[group] = 0;
    }
}

bool hopper::engine_step()
{
    uint32_t groups = GROUPS, first = random_below(groups + 1);
    for (uint32_t i = 0; i <= groups; i++) {
        uint32_t which = (first + i) % (groups + 1);
        if (which == groups && !copies.empty()) {
            uint32_t k = random_below((uint32_t)copies.size());
            copy made = copies[k];
            copies.erase(copies.begin() + k);
            finish_copy(made);
            return true;
        }
        if (which < groups && can_execute((int)which)) {
            execute((int)which);
            return true;
        }
    }
    return false;
}

void hopper::engine_check_end()
{
    if (!copies.empty())
        fail("the block ended with copies under way");
    for (const std::deque<product> &queue : products)
        if (!queue.empty())
            fail("the block ended with products under way");
}
