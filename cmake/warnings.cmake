# SPDX-License-Identifier: Apache-2.0
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wcast-qual
                    -Wno-missing-field-initializers)
if(HOTBACKUP_WERROR)
  add_compile_options(-Werror)
endif()
if(HOTBACKUP_SANITIZE)
  add_compile_options(-fsanitize=${HOTBACKUP_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${HOTBACKUP_SANITIZE})
endif()
include_directories(${CMAKE_SOURCE_DIR})
