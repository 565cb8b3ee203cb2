/* A CUDA module of another build. */
extern const char rs_backend_cuda_build[], rs_backend_cuda[];
const char rs_backend_cuda_build[] = "0.0.0 elsewhere", rs_backend_cuda[] = "";
