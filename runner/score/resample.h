/* The bootstrap (Efron 1979): what a statistic of n samples would have been, had other samples been drawn.
 *
 * The counts of one set of resamples serve every point that has as many samples, which makes a resampled sum a product of two matrices and
 * ten thousand resamples of ten thousand points a matter of seconds. Statistics over several cells (tasks, contexts) resample each cell by
 * itself: cell number s takes its resample b from place b + s * RS_CELL_STRIDE, so that no two cells share one at the same b. */
#ifndef RS_SCORE_RESAMPLE_H
#define RS_SCORE_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

enum { RS_RESAMPLES = 10000, RS_CELL_STRIDE = 3571 };
/* Beyond so many samples neighbours are drawn together, in this many groups: the spread is then known to 2 percent, in bounded memory. */
enum { RS_MAX_GROUPS = 4096 };

typedef struct rs_resample rs_resample;

/* The resamples of n samples; they depend on seed and n alone. */
rs_resample *rs_resample_open(uint64_t seed, size_t n);
void rs_resample_close(rs_resample *resample);

typedef struct rs_column {
    const double *y, *w; /* [n]; w NULL: all 1 */
    double *replicates;  /* [RS_RESAMPLES], written: sum y / sum w of each resample */
} rs_column;
/* Many columns at once, all of as many samples as the resamples were made for. */
void rs_resample_means(const rs_resample *resample, const rs_column *columns, size_t n_columns);

/* --- intervals --- */

typedef struct rs_interval {
    double low, high; /* NaN where there is none */
} rs_interval;

/* What a statistic's own samples say of its skewness: sums over cells and samples of U^2 and U^3, U a sample's share in the statistic (the
 * jackknife's), times (n - 1) / n of its cell. */
typedef struct rs_skew {
    double squares, cubes;
} rs_skew;

/* 95 % by BCa (Efron 1987): percentiles of the resampled statistics, moved for bias and skewness. Second-order correct, and it stays within
 * what the statistic can be. None where resampling changes nothing. scratch: [RS_RESAMPLES]. */
rs_interval rs_interval_bca(const double *replicates, double estimate, rs_skew skew, double *scratch);

#endif
