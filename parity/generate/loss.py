"""DINO loss: value, gradient, centre, entropy over three updates. Double loop in f64, checked against lightly in f32."""

import torch
from lightly.loss import DINOLoss

from filler import centred
from reference import dino_loss
from store import save

STEPS = 3
# (ncrops, batch, K, teacher temperature, logit scale)
CASES = [
    (2, 1, 7, 0.04, 1), (2, 3, 7, 0.07, 20), (4, 1, 7, 0.07, 1), (4, 3, 7, 0.04, 20),
    (10, 1, 7, 0.04, 20), (10, 4, 7, 0.07, 1), (2, 4, 64, 0.04, 1), (4, 3, 64, 0.07, 20),
    (10, 3, 64, 0.04, 1), (2, 3, 1000, 0.07, 1), (4, 1, 1000, 0.04, 20), (10, 4, 1000, 0.04, 1),
    (10, 3, 1000, 0.07, 20),
]


def main() -> None:
    for ncrops, batch, classes, temp, scale in CASES:
        name = f"crops{ncrops}_batch{batch}_k{classes}_temp{temp}_scale{scale}"
        center = torch.zeros(1, classes, dtype=torch.float64)
        peer = DINOLoss(output_dim=classes, teacher_temp=temp, warmup_teacher_temp_epochs=0)
        out = {"loss": [], "entropy": [], "center": []}
        stride = 1 if classes < 1000 else 37
        tensors = {}
        for step in range(STEPS):
            student = centred(f"student.{step}", (ncrops * batch, classes), scale)
            teacher = centred(f"teacher.{step}", (2 * batch, classes), scale)
            mine = student.double().requires_grad_()
            loss, entropy = dino_loss(mine, teacher.double(), center, (temp, 0.1))
            loss.backward()
            center = 0.9 * center + 0.1 * teacher.double().mean(0, keepdim=True)
            theirs = student.clone().requires_grad_()
            peer_loss = peer(list(teacher.split(batch)), list(theirs.split(batch)))
            peer_loss.backward()
            torch.testing.assert_close(peer_loss.double(), loss.detach(), rtol=3e-6, atol=1e-6)
            torch.testing.assert_close(theirs.grad.double(), mine.grad, rtol=1e-3, atol=2e-5)
            torch.testing.assert_close(peer.center.double()[0], center, rtol=1e-5, atol=1e-6)
            out["loss"].append(loss.detach())
            out["entropy"].append(entropy)
            out["center"].append(center[0])
            tensors[f"grad.{step}"] = mine.grad[:, ::stride]
        tensors |= {key: torch.stack(values) for key, values in out.items()}
        case = {"ncrops": ncrops, "batch": batch, "out_dim": classes, "teacher_temp": temp, "student_temp": 0.1,
                "center_momentum": 0.9, "logit_scale": scale, "steps": STEPS, "grad_column_stride": stride}
        save("loss", name, tensors, case)


if __name__ == "__main__":
    main()
