# SPDX-License-Identifier: Apache-2.0
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow
                    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> -Wcast-qual
                    -Wno-missing-field-initializers)
# GCC 12 sees overlapping copies in std::string's own code at -O3 (GCC bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-restrict)
endif()
if(HOTBACKUP_WERROR)
  add_compile_options(-Werror)
endif()
if(HOTBACKUP_SANITIZE)
  add_compile_options(-fsanitize=${HOTBACKUP_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${HOTBACKUP_SANITIZE})
endif()
include_directories(${CMAKE_SOURCE_DIR})
