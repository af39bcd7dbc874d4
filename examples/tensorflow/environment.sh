# What test and infer begin with, after setup.sh: installs TensorFlow, and sets how cgo finds it in the Python package.
exec {installing}>"$out/lock" # infer and test may be started at once
flock "$installing"
python_packages requirements.txt
exec {installing}>&-

tensorflow=$("$python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/tensorflow
# libtensorflow_cc has sessions and graphs, libtensorflow_framework tensors. The names have no plain .so beside them.
export CGO_CFLAGS="-O2 -g '-I$tensorflow/include'"
export CGO_LDFLAGS="-O2 -g '-L$tensorflow' -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 '-Wl,-rpath,$tensorflow'"
export CGO_ENABLED=1
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2} # without its remarks on the processor
