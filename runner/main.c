/* ropesweep: reads the command line, runs the command, turns its outcome into an exit code. Nothing else exits. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "engine/run.h"
#include "sharding/comm.h"

enum { EXIT_DONE = 0, EXIT_INTERNAL = 1, EXIT_CORRECT = 2, EXIT_FAILED_POINTS = 3, EXIT_GATE = 4, EXIT_RESUMABLE = 75 };

static int exit_code(rs_status status)
{
    switch (status) {
    case RS_OK:
        return EXIT_DONE;
    case RS_INVALID:
        return EXIT_CORRECT;
    case RS_STOPPED:
        return EXIT_RESUMABLE;
    default:
        return EXIT_INTERNAL;
    }
}

static int result_code(rs_run_result result)
{
    return result == RS_RUN_STOPPED ? EXIT_RESUMABLE : result == RS_RUN_FAILED_POINTS ? EXIT_FAILED_POINTS : EXIT_DONE;
}

static int fail(rs_status status)
{
    fprintf(stderr, "ropesweep: %s\n", rs_error_message());
    return exit_code(status);
}

static int usage_error(rs_status status, int rank)
{
    if (rank == 0)
        fprintf(stderr, "ropesweep: %s\n\n%s", rs_error_message(), rs_help_text);
    return exit_code(status);
}

/* OpenMP's threads spin at barriers as if nobody else wanted their cores: on a shared machine a run then takes many times as long. libgomp
 * reads how long to spin before main begins, so the program starts itself once more; short spins cost nothing where cores are free. */
static void bound_spinning(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    setenv("GOMP_SPINCOUNT", "10000", 1);
    execv("/proc/self/exe", argv); /* where that fails, this process goes on */
}

static bool computes(rs_command command)
{
    return command == RS_COMMAND_RUN || command == RS_COMMAND_REPORT || command == RS_COMMAND_COMPARE || command == RS_COMMAND_TREND ||
           command == RS_COMMAND_MERGE;
}

static int run(rs_options *options, const rs_launch *launch, int *argc, char ***argv)
{
    rs_comm *world = NULL;
    rs_run_result result = RS_RUN_COMPLETE;
    bool speaks = true;
    rs_status status = rs_launch_check_before(launch);
    options->run.launch = launch;
    if (status != RS_OK)
        speaks = launch->rank == 0;
    else if (launch->launcher)
        status = rs_comm_world_open(argc, argv, &world);
    else /* a lone process needs no MPI, nor the daemon that Open MPI would fork for it */
        world = rs_comm_local_open();
    if (status == RS_OK)
        status = rs_run(world, &options->run, &result, &speaks);
    int code = status == RS_OK ? result_code(result) : result == RS_RUN_STOPPED ? EXIT_RESUMABLE : exit_code(status);
    if (status != RS_OK && speaks)
        fail(status);
    fflush(NULL);
    rs_comm_close(world);
    return code;
}

/* Commands that one process answers; under a launcher the other ranks keep still. */
static int answer(const rs_options *options)
{
    rs_run_result result = RS_RUN_COMPLETE;
    rs_status status = RS_OK;
    bool passed = true;
    switch (options->command) {
    case RS_COMMAND_PLAN:
        status = rs_command_plan(options);
        break;
    case RS_COMMAND_CHECK:
        status = rs_command_check(options);
        break;
    case RS_COMMAND_REPORT:
        status = rs_command_report(options, &result);
        break;
    case RS_COMMAND_COMPARE:
        status = rs_command_compare(options, &passed);
        break;
    case RS_COMMAND_TREND:
        status = rs_command_trend(options);
        break;
    case RS_COMMAND_MERGE:
        status = rs_command_merge(options, &result);
        break;
    case RS_COMMAND_LIST:
        status = rs_command_list(options);
        break;
    case RS_COMMAND_TOKENIZE:
        status = rs_command_tokenize(options);
        break;
    case RS_COMMAND_VERSION:
        rs_command_version();
        break;
    default:
        rs_command_help();
    }
    if (status == RS_OK && fflush(stdout) != 0)
        status = rs_fail(RS_IO, "standard output cannot be written");
    if (status != RS_OK) { /* where files are read and written, the same command goes on once the disk is well */
        int code = fail(status);
        return status == RS_IO && computes(options->command) ? EXIT_RESUMABLE : code;
    }
    return !passed ? EXIT_GATE : result_code(result);
}

int main(int argc, char **argv)
{
    rs_options options;
    rs_status status = rs_options_parse(argc, argv, &options);
    rs_launch launch = rs_launch_find();
    int code = EXIT_DONE;
    rs_log_set_level(options.log_level);
    if (status == RS_OK && computes(options.command))
        bound_spinning(argv);
    if (status != RS_OK)
        code = usage_error(status, launch.rank);
    else if (options.command == RS_COMMAND_RUN)
        code = run(&options, &launch, &argc, &argv);
    else if (launch.rank == 0)
        code = answer(&options);
    if (argc == 1) /* nothing was asked: the help is an answer, but scripts should see that nothing ran */
        code = EXIT_CORRECT;
    rs_options_free(&options);
    return code;
}
