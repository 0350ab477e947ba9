# SPDX-License-Identifier: Apache-2.0
# The Debian packages: cpack -G DEB in a build tree that was configured with
# -DCMAKE_INSTALL_PREFIX=/usr. Tried by tests/package/run.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME hotbackup)
set(CPACK_PACKAGE_CONTACT "hotbackup maintainers <hotbackup@localhost>")
set(CPACK_PACKAGE_VENDOR hotbackup)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL servers library dev tools docs)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(same "(= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME libhotbackup)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION "hot backup of LMDB: capture library
 Sits in front of liblmdb in unmodified programs and journals what they write.")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_SOURCE_DIR}/debian/library/prerm)

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libhotbackup-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libhotbackup ${same}, liblmdb-dev")
set(CPACK_DEBIAN_DEV_DESCRIPTION "hot backup of LMDB: header
 hotbackup.h, for programs that want to wait for their slave or set marks.")

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME hotbackup)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS "libhotbackup ${same}")
set(CPACK_DEBIAN_TOOLS_PACKAGE_RECOMMENDS "hotbackup-server")
set(CPACK_DEBIAN_TOOLS_DESCRIPTION "hot backup of LMDB: administration
 The hotbackup command: setup, pairing, status and changes of roles.")

set(CPACK_DEBIAN_SERVERS_PACKAGE_NAME hotbackup-server)
set(CPACK_DEBIAN_SERVERS_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_SERVERS_PACKAGE_DEPENDS "hotbackup ${same}, adduser, debconf")
set(CPACK_DEBIAN_SERVERS_PACKAGE_RECOMMENDS "curl")
set(CPACK_DEBIAN_SERVERS_DESCRIPTION "hot backup of LMDB: master and slave server
 Streams the updates of LMDB environments to a slave on another machine and
 applies them there, acknowledged and without a gap.")
foreach(script IN ITEMS postinst prerm postrm templates)
  list(APPEND CPACK_DEBIAN_SERVERS_PACKAGE_CONTROL_EXTRA
       ${CMAKE_CURRENT_SOURCE_DIR}/debian/servers/${script})
endforeach()

set(CPACK_DEBIAN_DOCS_PACKAGE_NAME hotbackup-doc)
set(CPACK_DEBIAN_DOCS_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_DOCS_PACKAGE_SECTION doc)
set(CPACK_DEBIAN_DOCS_DESCRIPTION "hot backup of LMDB: documentation
 Guarantees, formats, protocol and the operator's pages.")

include(CPack)
