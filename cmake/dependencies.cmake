# SPDX-License-Identifier: Apache-2.0
# Everything taken from Debian, each as one imported target.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CURL REQUIRED)
find_package(doctest QUIET)
pkg_check_modules(lmdb REQUIRED IMPORTED_TARGET lmdb)
pkg_check_modules(libsodium REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(libmicrohttpd REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(libzstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(libsystemd REQUIRED IMPORTED_TARGET libsystemd)

# Header-only parts: asio, toml++, tl::expected, protozero, xxHash.
add_library(hotbackup_asio INTERFACE)
target_compile_definitions(hotbackup_asio INTERFACE ASIO_STANDALONE ASIO_NO_DEPRECATED)
target_link_libraries(hotbackup_asio INTERFACE Threads::Threads)
# GCC 12 takes the frames of coroutines for memory of another allocator.
target_compile_options(hotbackup_asio INTERFACE -Wno-mismatched-new-delete)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # Asio 1.22 does not recognise clang's coroutines by itself.
  target_compile_definitions(hotbackup_asio INTERFACE ASIO_HAS_CO_AWAIT ASIO_HAS_STD_COROUTINE)
endif()
