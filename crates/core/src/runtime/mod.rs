//! What every program needs to run: options, configuration, log, loop, exit codes.
