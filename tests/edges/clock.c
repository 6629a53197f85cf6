/* A wall clock that a test may set: the seconds in the file $BURSAR_TEST_CLOCK are added to it. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    long told = syscall(SYS_clock_gettime, clock, at);
    const char *path = getenv("BURSAR_TEST_CLOCK");
    if (told == 0 && clock == CLOCK_REALTIME && path != NULL) {
        FILE *file = fopen(path, "r");
        long long seconds = 0;
        if (file != NULL) {
            if (fscanf(file, "%lld", &seconds) == 1) at->tv_sec += seconds;
            fclose(file);
        }
    }
    return (int)told;
}
