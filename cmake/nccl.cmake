# ropesweep_nccl.so: collectives over device memory (sharding/comm_nccl*.c). A module that is opened when it is asked for, since loading NCCL
# and CUDA would cost every run. Built where the CUDA backend is and NCCL is found.
file(GLOB nccl_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/sharding/comm_nccl*.c)
target_link_libraries(rs_base PUBLIC ${CMAKE_DL_LIBS})
set_target_properties(ropesweep PROPERTIES ENABLE_EXPORTS ON) # a module calls the program's functions

find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ENV NCCL_HOME PATH_SUFFIXES include)
find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_ROOT} ENV NCCL_HOME PATH_SUFFIXES lib lib64)
if(TARGET ropesweep_cuda AND NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
  add_library(ropesweep_nccl MODULE ${nccl_sources})
  target_include_directories(ropesweep_nccl PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/runner)
  target_include_directories(ropesweep_nccl SYSTEM PRIVATE ${NCCL_INCLUDE_DIR})
  target_link_libraries(ropesweep_nccl PRIVATE ${NCCL_LIBRARY} CUDA::cudart Threads::Threads)
  set_target_properties(ropesweep_nccl PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR} INSTALL_RPATH_USE_LINK_PATH ON)
  install(TARGETS ropesweep_nccl LIBRARY DESTINATION lib/ropesweep)
elseif(TARGET ropesweep_cuda)
  message(STATUS "No NCCL: sums over GPUs go through host memory")
endif()
