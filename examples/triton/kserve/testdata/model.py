"""The tests' models: each answers X as Y, after the seconds that its configuration says, and its process as PROCESS."""

import json
import os
import time

import numpy
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.seconds = float(parameters["seconds"]["string_value"])

    def execute(self, requests):
        responses = []
        for request in requests:
            time.sleep(self.seconds)
            x = triton.get_input_tensor_by_name(request, "X")
            # By DLPack also the types that NumPy lacks.
            y = triton.Tensor.from_dlpack("Y", x.to_dlpack())
            process = triton.Tensor("PROCESS", numpy.array([os.getpid()], dtype=numpy.int64))
            responses.append(triton.InferenceResponse([y, process]))
        return responses
