/* Links what cexport exports, as C11 and as C++17. */
#include <stdio.h>

#include "cexport.h"

int main(void) {
  const int got = Roundtrip(42);
  printf("%d\n", got);
  return got == 42 ? 0 : 1;
}
