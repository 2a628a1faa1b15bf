/* The functions of a library of kernels, once for each of its instruction sets. Sizes and strides are in elements. */

#ifndef RETORT_KERNELS_H
#define RETORT_KERNELS_H

#include <stdint.h>

#define JOIN_(name, suffix) retort_##name##_##suffix
#define JOIN(name, suffix) JOIN_(name, suffix)
/* The name of a function as compiled for one instruction set. */
#define EXPORT(name) JOIN(name, SUFFIX)

/* products.c */
int64_t EXPORT(packed_floats)(int64_t k, int64_t n, int is_rounded);
void EXPORT(pack)(int64_t k, int64_t n, const float *b, int64_t stride_k, int64_t stride_n, int is_rounded,
                  float *packed, int threads);
void EXPORT(product)(int64_t m, int64_t n, int64_t k, const float *a, int64_t stride_m, int64_t stride_k,
                     const float *packed, const float *bias, float *result, int64_t stride_result, int accumulates,
                     int is_rounded, int threads);
void EXPORT(sum_of_products)(int64_t m, int64_t n, int64_t shards, const int64_t *starts, const float *a,
                             int64_t stride_m, int64_t stride_k, const float *packed, float *result,
                             int64_t stride_result, int is_rounded, int threads);

/* quantized.c */
void EXPORT(quantize)(int64_t m, int64_t k, const float *x, int64_t stride, int8_t *levels, int64_t stride_levels,
                      float *scales, int threads);
int64_t EXPORT(packed_bytes)(int64_t k, int64_t n);
void EXPORT(pack_quantized)(int64_t k, int64_t n, const int8_t *levels, int64_t stride, uint8_t *packed, int threads);
void EXPORT(quantized_product)(int64_t m, int64_t n, int64_t k, const int8_t *left, int64_t stride, const float *scales,
                               const uint8_t *packed, const float *by, const float *bias, float *result, int threads);

/* norms.c */
void EXPORT(norm)(int64_t m, int64_t n, const float *x, int64_t stride_x, const float *weight, const float *bias,
                  float epsilon, int centred, float *y, float *means, float *scales, int threads);
void EXPORT(norm_by_x)(int64_t m, int64_t n, const float *above, int64_t stride_above, const float *x, int64_t stride_x,
                       const float *weight, float *means, float *scales, int centred, float *by_x, int threads);
void EXPORT(norm_by_weight)(int64_t shards, const int64_t *starts, int64_t n, const float *above, int64_t stride_above,
                            const float *x, int64_t stride_x, float *means, float *scales, float *by_weight,
                            float *by_bias, int threads);

/* elementwise.c */
void EXPORT(apply)(int function, int64_t n, const float *x, float *result, int threads);
void EXPORT(apply_gradient)(int function, int64_t n, const float *above, const float *x, float *result, int threads);
void EXPORT(dropout)(int64_t n, int64_t first, const float *x, int64_t key, int below, float scale, float *result,
                     int threads);
void EXPORT(normal)(int64_t n, int64_t key, float *result, int threads);
void EXPORT(adamw)(int64_t n, float *weight, const float *gradient, float *first, float *second, float factor,
                   float decayed, float step, float by_gradient, float kept, float by_square, float root,
                   float epsilon, int threads);
void EXPORT(rotate)(int64_t tokens, int64_t heads, int64_t half, const float *x, int64_t stride_token,
                    int64_t stride_head, const int64_t *positions, const float *cosines, const float *sines,
                    float sign, float *result, int threads);

/* rows.c */
void EXPORT(softmax)(int64_t m, int64_t n, const float *x, int64_t stride, float *result, int threads);
void EXPORT(softmax_gradient)(int64_t m, int64_t n, const float *above, const float *p, float *result, int threads);
void EXPORT(cross_entropy)(int64_t m, int64_t n, const float *x, int64_t stride, const int64_t *targets,
                           const float *weights, float smoothing, float *result, float *highest, float *totals,
                           int threads);
void EXPORT(cross_entropy_gradient)(int64_t m, int64_t n, const float *above, const float *x, int64_t stride,
                                    const int64_t *targets, const float *weights, float smoothing, float *highest,
                                    float *totals, float *result, int threads);
void EXPORT(add_rows)(int64_t count, int64_t n, const int64_t *order, const int64_t *starts, const int64_t *shards,
                      const float *x, int64_t stride, float *result, int threads);
void EXPORT(sum_of_rows)(int64_t shards, const int64_t *starts, int64_t n, const float *x, int64_t stride,
                         float *result, int threads);
void EXPORT(squares)(int64_t blocks, const int64_t *starts, const float *x, double *result, int threads);

/* attention.c */
int EXPORT(attention)(int64_t sequences, int64_t heads, int64_t sharing, int64_t width, const int64_t *offsets,
                      float *q, float *k, float *v, const int64_t *strides, float scale, int causal, int64_t key,
                      int below, float dropout_scale, float *result, float *highest, float *shares, int threads);
int EXPORT(attention_gradients)(int64_t sequences, int64_t heads, int64_t sharing, int64_t width,
                                const int64_t *offsets, float *above, float *q, float *k, float *v,
                                const int64_t *strides, float scale, int causal, int64_t key, int below,
                                float dropout_scale, float *highest, float *shares, float *by_q, float *by_k,
                                float *by_v, int threads);

#endif
