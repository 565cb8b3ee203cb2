#include "tasks/clrs.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* --- numbers --- */

/* 10^decimals: numbers are kept as whole multiples of its inverse. */
static int64_t one_of(const rs_clrs_problem *p)
{
    int64_t one = 1;
    for (int i = 0; i < p->decimals; i++)
        one *= 10;
    return one;
}

/* As short as can be, with one digit after the point at least. */
static void write_number(const rs_clrs_problem *p, int64_t number, rs_text *out)
{
    int64_t one = one_of(p), size = number < 0 ? -number : number, rest = size % one;
    int digits = p->decimals;
    for (; digits > 1 && rest % 10 == 0; digits--)
        rest /= 10;
    rs_text_printf(out, "%s%lld.%0*lld", number < 0 ? "-" : "", (long long)(size / one), digits, (long long)rest);
}

static void write_list(const rs_clrs_problem *p, const int64_t *numbers, int64_t n, int64_t stop, rs_text *out)
{
    rs_text_puts(out, "[");
    for (int64_t i = 0; i < n && i < stop; i++) {
        rs_text_puts(out, i ? " " : "");
        write_number(p, numbers[i], out);
    }
    rs_text_puts(out, stop < n ? "" : "]");
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The first n numbers, sorted. Freed by the caller. */
static int64_t *sorted(const rs_clrs_problem *p, int64_t n)
{
    int64_t *numbers = rs_alloc((size_t)n, sizeof *numbers);
    memcpy(numbers, p->numbers, (size_t)n * sizeof *numbers);
    qsort(numbers, (size_t)n, sizeof *numbers, by_size);
    return numbers;
}

static int64_t place_of(const rs_clrs_problem *p, int64_t n)
{
    return (int64_t)(p->depth * (double)n);
}

static void draw_numbers(rs_clrs_problem *p, rs_rng *rng, int64_t low, int64_t high)
{
    p->numbers = rs_alloc((size_t)p->most, sizeof *p->numbers);
    for (int64_t i = 0; i < p->most; i++)
        p->numbers[i] = low + (int64_t)rs_rng_below(rng, (uint64_t)(high - low + 1));
}

/* --- minimum --- */

static void minimum_draw(rs_clrs_problem *p, rs_rng *rng)
{
    int64_t one = one_of(p);
    p->least = (int64_t)rs_rng_below(rng, (uint64_t)one - 1);
    draw_numbers(p, rng, p->least + 1, one - 1);
}

static void minimum_inputs(const rs_clrs_problem *p, int64_t n, int64_t stop, rs_text *out)
{
    int64_t *numbers = rs_alloc((size_t)n, sizeof *numbers), place = place_of(p, n);
    for (int64_t i = 0; i < n; i++)
        numbers[i] = i == place ? p->least : p->numbers[i < place ? i : i - 1];
    rs_text_puts(out, "key: ");
    write_list(p, numbers, n, stop, out);
    free(numbers);
}

static size_t minimum_solve(const rs_clrs_problem *p, int64_t n, int64_t *places, rs_text *out)
{
    places[0] = place_of(p, n);
    rs_text_printf(out, "%lld", (long long)places[0]);
    return 1;
}

/* --- insertion_sort --- */

static void sort_draw(rs_clrs_problem *p, rs_rng *rng)
{
    draw_numbers(p, rng, 0, one_of(p) - 1);
}

static void sort_inputs(const rs_clrs_problem *p, int64_t n, int64_t stop, rs_text *out)
{
    rs_text_puts(out, "key: ");
    write_list(p, p->numbers, n, stop, out);
}

static size_t sort_solve(const rs_clrs_problem *p, int64_t n, int64_t *places, rs_text *out)
{
    (void)places;
    int64_t *numbers = sorted(p, n);
    write_list(p, numbers, n, n, out);
    free(numbers);
    return 0;
}

/* --- binary_search --- */

static void search_draw(rs_clrs_problem *p, rs_rng *rng)
{
    sort_draw(p, rng);
    p->part = rs_rng_unit(rng);
}

/* A target above the key before the place and not above the key at it. */
static int64_t target_of(const rs_clrs_problem *p, const int64_t *keys, int64_t n)
{
    int64_t place = place_of(p, n), below = place > 0 ? keys[place - 1] : -1, step = keys[place] - below;
    return keys[place] - (int64_t)(p->part * (double)step);
}

static void search_inputs(const rs_clrs_problem *p, int64_t n, int64_t stop, rs_text *out)
{
    int64_t *keys = sorted(p, n);
    rs_text_puts(out, "key: ");
    write_list(p, keys, n, stop, out);
    if (stop >= n) {
        rs_text_puts(out, ", target: ");
        write_number(p, target_of(p, keys, n), out);
    }
    free(keys);
}

static size_t search_solve(const rs_clrs_problem *p, int64_t n, int64_t *places, rs_text *out)
{
    int64_t *keys = sorted(p, n), target = target_of(p, keys, n), low = 0, high = n - 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (target <= keys[middle])
            high = middle;
        else
            low = middle + 1;
    }
    free(keys);
    places[0] = high;
    rs_text_printf(out, "%lld", (long long)high);
    return 1;
}

/* --- kadane --- */

static void kadane_draw(rs_clrs_problem *p, rs_rng *rng)
{
    draw_numbers(p, rng, 1 - one_of(p), one_of(p) - 1);
}

static size_t kadane_solve(const rs_clrs_problem *p, int64_t n, int64_t *places, rs_text *out)
{
    int64_t start = 0, sum = p->numbers[0], best = sum;
    places[0] = places[1] = 0;
    for (int64_t i = 1; i < n; i++) {
        if (sum < 0) {
            start = i;
            sum = 0;
        }
        sum += p->numbers[i];
        if (sum > best) {
            best = sum;
            places[0] = start;
            places[1] = i;
        }
    }
    rs_text_printf(out, "%lld, %lld", (long long)places[0], (long long)places[1]);
    return 2;
}

/* --- bfs --- */

static void graph_draw(rs_clrs_problem *p, rs_rng *rng)
{
    p->adjacent = rs_alloc((size_t)(p->most * p->most), 1);
    for (int64_t i = 0; i < p->most; i++)
        for (int64_t j = 0; j < i; j++)
            p->adjacent[i * p->most + j] = p->adjacent[j * p->most + i] = rs_rng_unit(rng) < p->edges;
}

static void graph_inputs(const rs_clrs_problem *p, int64_t n, int64_t stop, rs_text *out)
{
    rs_text_printf(out, "s: %lld, A: [", (long long)place_of(p, n));
    for (int64_t i = 0; i < n && i < stop; i++) {
        rs_text_puts(out, i ? ", [" : "[");
        for (int64_t j = 0; j < n; j++)
            rs_text_puts(out, p->adjacent[i * p->most + j] ? (j ? " 1" : "1") : j ? " 0" : "0");
        rs_text_puts(out, "]");
    }
    rs_text_puts(out, stop < n ? "" : "]");
}

/* Wave by wave; the nodes of a wave in rising order, so that each node's first finder is the lowest. */
static size_t graph_solve(const rs_clrs_problem *p, int64_t n, int64_t *places, rs_text *out)
{
    int64_t source = place_of(p, n), *before = rs_alloc((size_t)n, sizeof *before), *wave = rs_alloc((size_t)n, sizeof *wave);
    for (int64_t i = 0; i < n; i++) {
        before[i] = i;
        wave[i] = i == source ? 0 : INT64_MAX;
    }
    bool grows = true;
    for (int64_t step = 0; grows; step++) {
        grows = false;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; wave[i] == step && j < n; j++)
                if (p->adjacent[i * p->most + j] && wave[j] == INT64_MAX) {
                    wave[j] = step + 1;
                    before[j] = i;
                    grows = true;
                }
    }
    rs_text_puts(out, "[");
    for (int64_t i = 0; i < n; i++)
        rs_text_printf(out, i ? " %lld" : "%lld", (long long)before[i]);
    rs_text_puts(out, "]");
    free(wave);
    free(before);
    places[0] = source;
    return 1;
}

static const rs_clrs_algorithm algorithms[] = {
    {"minimum", "minimum", "min", false, minimum_draw, minimum_inputs, minimum_solve},
    {"insertion_sort", "insertion_sort", "pred", false, sort_draw, sort_inputs, sort_solve},
    {"binary_search", "binary_search", "return", false, search_draw, search_inputs, search_solve},
    {"kadane", "find_maximum_subarray_kadane", "start, end", false, kadane_draw, sort_inputs, kadane_solve},
    {"bfs", "bfs", "pi", true, graph_draw, graph_inputs, graph_solve},
};

const rs_clrs_algorithm *rs_clrs_find(const char *choice)
{
    const rs_clrs_algorithm *found = algorithms;
    while (strcmp(found->choice, choice) != 0)
        found++;
    return found;
}

void rs_clrs_problem_free(rs_clrs_problem *p)
{
    free(p->numbers);
    free(p->adjacent);
    p->numbers = NULL;
    p->adjacent = NULL;
}
