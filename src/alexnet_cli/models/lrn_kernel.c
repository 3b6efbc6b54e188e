/* Local response normalisation of one storage type, forward and backward.
 *
 * Compiled on first use by lrn_native.py, once for each DTYPE (float32, bfloat16, float64), window
 * SIZE and exponent: constants, so that the compiler unrolls the window and vectorises the rest.
 *
 * A tensor is seen as (outer, channels, inner): channels-first is (N, C, H*W), channels-last is
 * (N*H*W, C, 1). A tile is all channels of P neighbours in `inner`, laid out channel by channel,
 * so that the next channel is P places on and one loop over C*P serves both layouts. x and the
 * gradient are read once, the result is written once; everything between stays in cache.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(DTYPE_float64)
typedef double stored;
typedef double real;
#define SQRT sqrt
#define POW pow
#else
typedef float real;
#define SQRT sqrtf
#define POW powf
#endif

#if defined(DTYPE_bfloat16)
typedef uint16_t stored;
static inline real load(stored bits) {
    uint32_t wide = (uint32_t)bits << 16;
    real value;
    memcpy(&value, &wide, sizeof value);
    return value;
}
static inline stored store(real value) { /* to nearest, ties to even */
    uint32_t wide;
    memcpy(&wide, &value, sizeof wide);
    uint32_t rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    return value != value ? 0x7fc0 : (stored)rounded;
}
#else
#if defined(DTYPE_float32)
typedef float stored;
#endif
static inline real load(stored value) { return value; }
static inline stored store(real value) { return value; }
#endif

#define HALF (SIZE / 2)
#define TILE 64 /* neighbours at once, channels-first: a tile of 96 channels fits the L1 cache */

typedef struct {
    int64_t outer, channels, inner;
    double alpha_over_size, beta, k;
    int64_t num_threads;
} shape;

/* d^-beta and 1/d of the window around place i; `squares` starts HALF channels early. */
static inline void powers(const real *squares, int64_t i, int64_t P, const shape *s, real *power,
                          real *inverse) {
    real sum = 0;
    for (int j = 0; j < SIZE; j++) sum += squares[i + j * P];
    real d = (real)s->k + (real)s->alpha_over_size * sum;
#if defined(BETA_THREE_QUARTERS)
    real root = 1 / SQRT(d);
    *power = root * SQRT(root);
    *inverse = root * root;
#else
    *power = POW(d, (real)-s->beta);
    *inverse = 1 / d;
#endif
}

static inline void gather(const stored *from, real *to, int64_t width, int64_t P, const shape *s) {
    if (P == 1)
        for (int64_t i = 0; i < s->channels; i++) to[i] = load(from[i]);
    else
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t p = 0; p < width; p++) to[c * P + p] = load(from[c * s->inner + p]);
}

static inline void scatter(const real *from, stored *to, int64_t width, int64_t P, const shape *s) {
    if (P == 1)
        for (int64_t i = 0; i < s->channels; i++) to[i] = store(from[i]);
    else
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t p = 0; p < width; p++) to[c * s->inner + p] = store(from[c * P + p]);
}

/* y = x d^-beta;  dx = g d^-beta - 2 alpha/n beta x window(g x d^-(beta+1)).
 * `gradient` is null for the forward pass. Returns 0, or 1 when there was no memory. */
int lrn(const stored *input, const stored *gradient, stored *output, const shape *s) {
    const int64_t P = s->inner < TILE ? s->inner : TILE;
    const int64_t tiles = (s->inner + P - 1) / P, places = s->channels * P, edge = HALF * P;
    int failed = 0;
#pragma omp parallel num_threads((int)s->num_threads) reduction(| : failed)
    {
        /* The edges of `squares` and `through` stay zero: channels beyond the first and last. */
        real *scratch = calloc(4 * places + 4 * edge, sizeof(real));
        real *restrict x = scratch, *restrict g = x + places;
        real *restrict squares = g + places, *restrict through = squares + places + 2 * edge;
        failed = scratch == NULL;
#pragma omp for collapse(2) schedule(static)
        for (int64_t o = 0; o < s->outer; o++)
            for (int64_t t = 0; t < tiles; t++) {
                if (failed) continue;
                const int64_t at = o * s->channels * s->inner + t * P;
                const int64_t rest = s->inner - t * P, width = rest < P ? rest : P;
                gather(input + at, x, width, P, s);
#pragma omp simd
                for (int64_t i = 0; i < places; i++) squares[i + edge] = x[i] * x[i];
                if (gradient == NULL) {
#pragma omp simd
                    for (int64_t i = 0; i < places; i++) {
                        real power, inverse;
                        powers(squares, i, P, s, &power, &inverse);
                        g[i] = x[i] * power;
                    }
                } else {
                    gather(gradient + at, g, width, P, s);
#pragma omp simd
                    for (int64_t i = 0; i < places; i++) {
                        real power, inverse;
                        powers(squares, i, P, s, &power, &inverse);
                        g[i] *= power;
                        through[i + edge] = g[i] * x[i] * inverse;
                    }
                    const real factor = (real)(2 * s->alpha_over_size * s->beta);
#pragma omp simd
                    for (int64_t i = 0; i < places; i++) {
                        real sum = 0;
                        for (int j = 0; j < SIZE; j++) sum += through[i + j * P];
                        g[i] -= factor * x[i] * sum;
                    }
                }
                scatter(g, output + at, width, P, s);
            }
        free(scratch);
    }
    return failed;
}
