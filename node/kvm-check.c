/* Does /dev/kvm (or argv[1]) work here? Prints one line, `api=12 vm=ok` or the step that failed and why; exit 0 when it works. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int failed(const char *step) {
  printf("%s: %s\n", step, strerror(errno));
  return 1;
}

int main(int argc, char **argv) {
  int kvm = open(argc > 1 ? argv[1] : "/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) {
    return failed("open");
  }
  int version = ioctl(kvm, KVM_GET_API_VERSION, 0);
  if (version < 0) {
    return failed("KVM_GET_API_VERSION");
  }
  int machine = ioctl(kvm, KVM_CREATE_VM, 0);
  if (machine < 0) {
    return failed("KVM_CREATE_VM");
  }
  printf("api=%d vm=ok\n", version);
  return version == KVM_API_VERSION ? 0 : 1;
}
