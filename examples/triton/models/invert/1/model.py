"""Answers the negative of a picture of uint8."""

import numpy
import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            picture = triton.get_input_tensor_by_name(request, "PICTURE").as_numpy()
            responses.append(triton.InferenceResponse([triton.Tensor("NEGATIVE", numpy.bitwise_not(picture))]))
        return responses
