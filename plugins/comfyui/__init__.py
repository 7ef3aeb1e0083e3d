"""Gram-GAN as a node of ComfyUI: pictures made larger, with texture."""

from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import torch

import gramgan

_AUTO = "for each picture"
_OWN = ("gramgan-x4", "gramgan-x4-photo", "gramgan-x4-lite")
_FOLDER = "upscale_models"


class GramganUpscale:
    """Enlarges a batch of images; files in ComfyUI's `models/upscale_models` can be chosen too."""

    CATEGORY = "image/upscaling"
    DESCRIPTION = "Makes images larger. Fine texture is synthesised, not measured."
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (ComfyUI's name)
        """The node's sockets and fields, as ComfyUI asks for them."""
        models = [_AUTO, *_OWN, *folder_paths.get_filename_list(_FOLDER)]
        strength = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05}
        return {
            "required": {
                "image": ("IMAGE",),
                "model": (models, {"default": _AUTO}),
                "scale": ("FLOAT", {"default": 4.0, "min": 1.0, "max": 16.0, "step": 0.5}),
                "denoise": ("FLOAT", strength),
                "texture_mask": ("BOOLEAN", {"default": False}),
            }
        }

    def upscale(
        self, image: torch.Tensor, model: str, scale: float, denoise: float, texture_mask: bool
    ) -> tuple[torch.Tensor]:
        """Images `[B, H, W, C]` in [0, 1] → `([B, H·scale, W·scale, C],)`."""
        chosen = None if model == _AUTO else model if model in _OWN else folder_paths.get_full_path(_FOLDER, model)
        settings = gramgan.Settings(model=chosen, scale=scale, denoise=denoise, texture_mask=texture_mask)
        upscaling = gramgan.Upscaling(settings)
        bar = comfy.utils.ProgressBar(len(image))

        def progress(done: int, total: int) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update_absolute(number + done / max(total, 1))

        results = []
        for number, one in enumerate(image):
            pixels = one.movedim(-1, 0).float().clamp(0, 1).cpu().numpy()
            results.append(torch.from_numpy(upscaling.array(pixels, f"image {number + 1}", progress)).movedim(0, -1))
        return (torch.stack(results),)


NODE_CLASS_MAPPINGS = {"GramganUpscale": GramganUpscale}
NODE_DISPLAY_NAME_MAPPINGS = {"GramganUpscale": "Upscale Image (Gram-GAN)"}
