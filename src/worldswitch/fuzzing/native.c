/* Where the compiled core's coverage counters are.
 *
 * A core that clang compiled with -fsanitize-coverage=inline-8bit-counters,pc-table says so when it is loaded, by calling
 * two functions of libFuzzer. Outside a fuzzing process there is no libFuzzer: these take the calls and keep what they
 * say, and fuzzing/counters.py hands it on where there is one. Hidden, so that the loader never prefers others.
 */
#include <stdint.h>

#define HIDDEN __attribute__((visibility("hidden"), no_sanitize("coverage")))

__attribute__((visibility("default"))) uintptr_t worldswitch_coverage[4]; /* counters, their end; table, its end */

HIDDEN void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *end)
{
    worldswitch_coverage[0] = (uintptr_t)start;
    worldswitch_coverage[1] = (uintptr_t)end;
}

HIDDEN void __sanitizer_cov_pcs_init(const uintptr_t *start, const uintptr_t *end)
{
    worldswitch_coverage[2] = (uintptr_t)start;
    worldswitch_coverage[3] = (uintptr_t)end;
}
