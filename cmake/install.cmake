# What is installed, and how other projects find it: pkg-config (innerloop.pc) and find_package(innerloop).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(MODELS share/innerloop/models) # where cli/bundled_model.c looks, beside the command's bin
install(TARGETS innerloop)
install(TARGETS innerloop_shared innerloop_static EXPORT innerloop-targets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES include/innerloop.h TYPE INCLUDE)
install(DIRECTORY models/reader models/any models/clothes models/digits models/maze DESTINATION ${MODELS})

# innerloop.pc knows its prefix from where it lies, so that an installed tree can be moved.
file(RELATIVE_PATH PC_TO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" PC_TO_PREFIX ${PC_TO_PREFIX})
cmake_path(APPEND PC_LIBDIR "\${prefix}" ${CMAKE_INSTALL_LIBDIR})
cmake_path(APPEND PC_INCLUDEDIR "\${prefix}" ${CMAKE_INSTALL_INCLUDEDIR})
set(PC_LIBS_PRIVATE ${PICTURES_NAMES} ${ONEDNN_NAME} stdc++ m)
list(TRANSFORM PC_LIBS_PRIVATE PREPEND -l)
list(JOIN DEPS_STATIC_LDFLAGS " " PC_DEPS_PRIVATE)
list(JOIN PC_LIBS_PRIVATE " " PC_LIBS_PRIVATE)
configure_file(cmake/innerloop.pc.in innerloop.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/innerloop.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(CONFIG ${CMAKE_INSTALL_LIBDIR}/cmake/innerloop)
configure_package_config_file(cmake/innerloop-config.cmake.in innerloop-config.cmake INSTALL_DESTINATION ${CONFIG} PATH_VARS MODELS)
write_basic_package_version_file(innerloop-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/innerloop-config.cmake ${PROJECT_BINARY_DIR}/innerloop-config-version.cmake DESTINATION ${CONFIG})
install(EXPORT innerloop-targets NAMESPACE innerloop:: DESTINATION ${CONFIG})

# The command writes its manual page and its completion for bash itself, from its tables of options.
if(NOT CMAKE_CROSSCOMPILING)
  add_custom_command(OUTPUT innerloop.1 innerloop.bash DEPENDS innerloop VERBATIM
                     COMMAND innerloop --man > innerloop.1 COMMAND innerloop --completion bash > innerloop.bash)
  add_custom_target(manual ALL DEPENDS innerloop.1 innerloop.bash)
  install(FILES ${PROJECT_BINARY_DIR}/innerloop.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${PROJECT_BINARY_DIR}/innerloop.bash DESTINATION share/bash-completion/completions RENAME innerloop)
endif()

if(NOT IL_SANITIZE AND NOT IL_FUZZ AND NOT CMAKE_CROSSCOMPILING) # what links with an instrumented library must be instrumented
  add_test(NAME install_test COMMAND examples/test_install ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER} ${PROJECT_BINARY_DIR}/install_test
           WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(install_test PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
endif()
