/* Work that is queued and recorded: the host runs ahead, steps are launched whole, and nothing that the device still reads may change. */
#include "cuda_fixture.h"

static void test_graphs_visit(void **state)
{
    rs_cuda_graphs graphs = {0};
    rs_cuda_graph *dropped;
    bool fresh;
    int marks[RS_CUDA_GRAPHS + 1];
    (void)state;
    for (int64_t n = 0; n < RS_CUDA_GRAPHS; n++) {
        rs_cuda_shape one = {.n = n, .decode_longest = 1024};
        rs_cuda_graph_entry *entry = rs_cuda_graphs_visit(&graphs, &one, &fresh, &dropped);
        assert_true(fresh && !dropped && !entry->graph);
        entry->graph = (rs_cuda_graph *)(void *)&marks[n];
        assert_ptr_equal(rs_cuda_graphs_visit(&graphs, &one, &fresh, &dropped), entry);
        assert_true(!fresh && !dropped);
    }
    rs_cuda_shape zero = {.n = 0, .decode_longest = 1024}, other = zero, others[] = {zero, zero, zero, zero};
    assert_int_equal(rs_cuda_graphs_visit(&graphs, &zero, &fresh, &dropped)->shape.n, 0); /* 1 is the least recent now */
    assert_false(fresh);
    other.decode_longest = 2048;
    rs_cuda_graph_entry *entry = rs_cuda_graphs_visit(&graphs, &other, &fresh, &dropped);
    assert_true(fresh && !entry->graph);
    assert_ptr_equal(dropped, &marks[1]);
    rs_cuda_graphs_visit(&graphs, &zero, &fresh, &dropped);
    assert_false(fresh);
    others[0].n_decode = others[1].n_general = others[2].general_longest = others[3].n = 77; /* each alone makes a shape */
    for (int i = 0; i < 4; i++) {
        rs_cuda_graphs_visit(&graphs, &others[i], &fresh, &dropped);
        assert_true(fresh && dropped == (rs_cuda_graph *)(void *)&marks[2 + i]);
    }
}

/* Recorded or not, and on a device that is late or not: the same bits. */
static void test_replay(void **state)
{
    rs_head_row expected[8][3], results[8][3];
    (void)state;
    memset(expected, 0, sizeof expected);
    memset(results, 0, sizeof results);
    for (int way = 0; way < 4; way++) {
        decoder m = {0};
        rs_fake_now.eager = way & 1 ? ~0u : 0;
        assert_int_equal(open_decoder(&m), RS_OK);
        rs_fake_now.graph_launches = 0;
        assert_int_equal(run_decoder(&m, way >= 2, way ? results : expected), RS_OK);
        /* Two sequences: seen, recorded and launched, launched three times more. One: seen, recorded, launched. */
        assert_int_equal(rs_fake_now.graph_launches, way >= 2 ? 4 + 2 : 0);
        assert_memory_equal(results, way ? expected : results, sizeof results);
        close_decoder(&m);
        assert_int_equal(rs_fake_now.live, 0);
    }
    rs_fake_now.eager = 0;
    assert_true(isfinite(expected[7][0].max) && expected[7][0].best_id >= 0 && expected[3][0].max != expected[4][0].max);
}

/* Steps that nobody waits for, and weights that take the place of others which queued work still reads: as on a device that is never late,
 * whichever of the streams lags. */
static void test_run_ahead(void **state)
{
    rs_head_row expected[3], rows[3];
    (void)state;
    memset(expected, 0, sizeof expected);
    for (unsigned eager = 8; eager-- > 0;) {
        decoder m = {0};
        memset(rows, 0, sizeof rows);
        assert_int_equal(open_decoder(&m), RS_OK);
        rs_fake_now.eager = eager;
        for (int64_t row = 0; row < 40; row += 5)
            assert_int_equal(step(&m, RS_PREFILL, 3, 5, row, false, NULL), RS_OK);
        for (int64_t row = 40; row < 45; row++)
            assert_int_equal(step(&m, RS_DECODE, 3, 1, row, false, NULL), RS_OK);
        const char *place = m.qkv->data;
        rs_slice zeros = slice_of(calloc(WIDTH * HIDDEN, 4), RS_F32, WIDTH, HIDDEN);
        ops->matrix_free(m.b, m.qkv);
        assert_int_equal(ops->matrix_load(m.b, &zeros, 1, &m.qkv), RS_OK);
        assert_ptr_equal(m.qkv->data, place);
        free((void *)(uintptr_t)zeros.data);
        assert_int_equal(step(&m, RS_DECODE, 3, 1, 45, false, eager == 7 ? expected : rows), RS_OK);
        if (eager != 7)
            assert_memory_equal(rows, expected, sizeof rows);
        close_decoder(&m);
    }
    rs_fake_now.eager = 0;
}

/* A decode step's row has the bits that it has alone; which kernels multiply is the phase's to say. */
static void test_company(void **state)
{
    decoder m = {0};
    rs_head_row alone[1], together[ROWS];
    (void)state;
    memset(alone, 0, sizeof alone);
    memset(together, 0, sizeof together);
    assert_int_equal(open_decoder(&m), RS_OK);
    rs_fake_now.products = 0;
    assert_int_equal(step(&m, RS_PREFILL, 1, 1, 0, false, alone), RS_OK);
    int products = rs_fake_now.products;
    assert_true(products > 0); /* of one row too, in a prefill */
    assert_int_equal(step(&m, RS_PREFILL, 3, 20, 0, false, together), RS_OK);
    assert_int_equal(rs_fake_now.products, 2 * products);
    assert_int_equal(step(&m, RS_DECODE, 3, 1, 20, false, together), RS_OK);
    assert_int_equal(step(&m, RS_DECODE, 1, 1, 20, false, alone), RS_OK);
    assert_memory_equal(together, alone, sizeof alone);
    assert_int_equal(rs_fake_now.products, 2 * products); /* decoding has its own kernel, however many the rows */
    close_decoder(&m);
}

/* A step that fails while it is recorded, and buffers that move after it was. */
static void test_replay_recovers(void **state)
{
    decoder m = {0};
    rs_head_row expected[2], rows[2], unused[ROWS];
    bool done;
    (void)state;
    assert_int_equal(open_decoder(&m), RS_OK);
    assert_int_equal(step(&m, RS_PREFILL, 2, 20, 0, false, unused), RS_OK);
    assert_int_equal(step(&m, RS_DECODE, 2, 1, 20, false, expected), RS_OK);
    assert_int_equal(step(&m, RS_DECODE, 2, 1, 20, true, rows), RS_OK);
    rs_sequence s[2];
    int32_t ids[2] = {0};
    for (int i = 0; i < 2; i++)
        s[i] = (rs_sequence){.first_row = i, .n_rows = 1, .position = 20, .kv = m.kvs[i], .rope = &m.rope, .softmax = &m.softmax};
    rs_step half = {.phase = RS_DECODE, .sequences = s, .n_sequences = 2, .ids = ids, .n = 2};
    assert_int_equal(ops->prepare(m.b, &half), RS_OK);
    assert_int_equal(ops->replay(m.b, &done), RS_OK);
    assert_false(done);
    assert_non_null(m.b->recording);
    assert_int_equal(ops->overlap_wait(m.b), RS_OK);                 /* of nothing: what overlapped before was waited for before */
    assert_int_equal(ops->embed(m.b, m.table, 0, 3.0f, m.x), RS_OK); /* and no more */
    assert_int_equal(rs_cuda_grow(m.b, &m.b->work, m.b->work.bytes + 1, "a workspace"), RS_INTERNAL);
    rs_error_clear();
    for (int i = 0; i < 4; i++) {
        memset(rows, 0, sizeof rows);
        assert_int_equal(step(&m, RS_DECODE, 2, 1, 20, true, rows), RS_OK);
        assert_memory_equal(rows, expected, sizeof rows);
        if (i == 1) { /* recorded now */
            assert_true(m.b->graphs.clock > 0);
            assert_int_equal(rs_cuda_grow(m.b, &m.b->work, m.b->work.bytes + 1, "a workspace"), RS_OK);
            assert_int_equal(m.b->graphs.clock, 0);
        }
    }
    close_decoder(&m);
    assert_int_equal(rs_fake_now.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graphs_visit), cmocka_unit_test(test_replay),          cmocka_unit_test(test_run_ahead),
        cmocka_unit_test(test_company),      cmocka_unit_test(test_replay_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
