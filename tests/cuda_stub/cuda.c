#include <string.h>
#include <stddef.h>
int cuInit(unsigned f){return 0;}
int cuDriverGetVersion(int*v){*v=13000;return 0;}
int cuDeviceGetCount(int*n){*n=1;return 0;}
int cuDeviceGet(int*d,int i){*d=i;return 0;}
int cuDeviceGetName(char*s,int n,int d){strncpy(s,"Fake H100",n);return 0;}
int cuDeviceTotalMem_v2(size_t*m,int d){*m=80ull<<30;return 0;}
int cuDeviceGetAttribute(int*v,int a,int d){*v= a==75?9: a==76?0: a==16?132: 1;return 0;}
int cuGetErrorString(int e,const char**s){*s="fake";return 0;}
int cuFuncGetAttribute(int*v,int a,void*f){*v= a==0?1024:0;return 0;}
static long launches;
long fakeDriverLaunches(void){long n=launches;launches=0;return n;}
int cuLaunchKernel(void){launches++;return 0;}
int cuLaunchKernelEx(void){launches++;return 0;}
