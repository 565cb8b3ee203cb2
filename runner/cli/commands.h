/* The subcommands that need no ranks. Each prints its answer on stdout. */
#ifndef RS_CLI_COMMANDS_H
#define RS_CLI_COMMANDS_H

#include <stdbool.h>

#include "base/status.h"
#include "cli/options.h"

rs_status rs_command_plan(const rs_options *options);
rs_status rs_command_check(const rs_options *options);
rs_status rs_command_report(const rs_options *options, rs_run_result *result);
rs_status rs_command_compare(const rs_options *options, bool *passed);
rs_status rs_command_trend(const rs_options *options);
rs_status rs_command_merge(const rs_options *options, rs_run_result *result);
rs_status rs_command_list(const rs_options *options);
rs_status rs_command_tokenize(const rs_options *options);
void rs_command_version(void);
void rs_command_help(void); /* the options, and the keys of a config from its own tables */

#endif
