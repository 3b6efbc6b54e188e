/* Preloaded by benchmarks/avx2.py: answers CPUID, and opens /proc/cpuinfo, without AVX-512 and VNNI. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <ucontext.h>

#define BIT(n) (1u << (n))

/* Leaf 7: AVX-512 (F, DQ, IFMA, PF, ER, CD, BW, VL), its later parts with VNNI, AMX, BF16. */
static const unsigned LEAF7_EBX = BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31);
static const unsigned LEAF7_ECX = BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14);
static const unsigned LEAF7_EDX = BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25);
static const unsigned LEAF7_1_EAX = BIT(4) | BIT(5); /* AVX-VNNI, AVX512-BF16 */
static const unsigned LEAF7_1_EDX = BIT(4) | BIT(5) | BIT(10) | BIT(19); /* VNNI-INT8 and later */

static int (*real_sigaction)(int, const struct sigaction *, struct sigaction *);

/* In the patched library, UD2 stands where CPUID stood. */
static void answer_cpuid(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *code = (const unsigned char *)registers[REG_RIP];
  if (code[0] != 0x0f || code[1] != 0x0b) { /* a real illegal instruction */
    signal(SIGILL, SIG_DFL);
    return;
  }
  unsigned leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX], a, b, c, d;
  __cpuid_count(leaf, part, a, b, c, d);
  if (leaf == 7 && part == 0) {
    b &= ~LEAF7_EBX;
    c &= ~LEAF7_ECX;
    d &= ~LEAF7_EDX;
  } else if (leaf == 7 && part == 1) {
    a &= ~LEAF7_1_EAX;
    d &= ~LEAF7_1_EDX;
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = answer_cpuid;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  real_sigaction = dlsym(RTLD_NEXT, "sigaction");
  real_sigaction(SIGILL, &action, NULL);
}

/* Others, such as Python's faulthandler, must not take the signal over. */
int sigaction(int number, const struct sigaction *action, struct sigaction *before) {
  if (!real_sigaction) real_sigaction = dlsym(RTLD_NEXT, "sigaction");
  return real_sigaction(number, number == SIGILL ? NULL : action, before);
}

static const char *replaced(const char *path) {
  const char *other = getenv("AVX2_CPUINFO");
  return other && strcmp(path, "/proc/cpuinfo") == 0 ? other : path;
}

#define OPEN(name)                                             \
  int name(const char *path, int flags, ...) {                 \
    static int (*next)(const char *, int, ...);                \
    if (!next) next = dlsym(RTLD_NEXT, #name);                 \
    va_list arguments;                                         \
    va_start(arguments, flags);                                \
    mode_t mode = (mode_t)va_arg(arguments, int);              \
    va_end(arguments);                                         \
    return next(replaced(path), flags, mode);                  \
  }

OPEN(open)
OPEN(open64)
