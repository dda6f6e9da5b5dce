"""More real models: they share key names with the main ones, or are trained by AI Toolkit too.

`make_key_lists.py` reads it. A model that is missing from the table may be mistaken for one that is in it, so
everything that diffusers can build and that borrows another model's block names stands here.
"""

from tests.key_lists.image_models import SDXL, SDXL_TEXT
from tests.key_lists.model import Model

NEIGHBOURS = (
    Model(
        "sdxl-refiner",
        "sdxl_refiner",
        "stabilityai/stable-diffusion-xl-refiner-1.0 unet/config.json",
        "UNet2DConditionModel",
        {
            "block_out_channels": (384, 768, 1536, 1536),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": 4,
            "cross_attention_dim": 1280,
            "attention_head_dim": (6, 12, 24, 24),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2560,
        },
        "unet",
    ),
    Model(
        "ssd",
        "ssd",
        "segmind/SSD-1B unet/config.json; depths as in ComfyUI's comfy/model_detection.py (SSD_1B)",
        "UNet2DConditionModel",
        SDXL
        | {
            "mid_block_type": "UNetMidBlock2D",
            "transformer_layers_per_block": [1, [2, 2], [4, 4]],
            "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1],
        },
        "unet",
        SDXL_TEXT,
    ),
    Model(
        "vega",
        "vega",
        "segmind/Segmind-Vega unet/config.json; depths as in ComfyUI's comfy/model_detection.py (Segmind_Vega)",
        "UNet2DConditionModel",
        SDXL
        | {
            "mid_block_type": "UNetMidBlock2D",
            "transformer_layers_per_block": [1, [1, 1], [2, 2]],
            "reverse_transformer_layers_per_block": [[2, 2, 2], [1, 1, 1], 1],
        },
        "unet",
        SDXL_TEXT,
    ),
    Model(
        "kolors",
        "kolors",
        "Kwai-Kolors/Kolors-diffusers unet/config.json: the blocks of SDXL, another text encoder",
        "UNet2DConditionModel",
        SDXL
        | {
            "encoder_hid_dim": 4096,
            "encoder_hid_dim_type": "text_proj",
            "projection_class_embeddings_input_dim": 5632,
        },
    ),
    Model(
        "longcat-image",
        "longcat_image",
        "meituan-longcat/LongCat-Image transformer/config.json",
        "LongCatImageTransformer2DModel",
        {"num_layers": 10, "num_single_layers": 20},
    ),
    Model("ovis-image", "ovis_image", "AIDC-AI/Ovis-Image-7B transformer/config.json", "OvisImageTransformer2DModel"),
    Model(
        "bria-fibo",
        "bria_fibo",
        "briaai/FIBO transformer/config.json",
        "BriaFiboTransformer2DModel",
        {"num_layers": 8, "num_single_layers": 38},
    ),
    Model("flux3", "flux3", "the defaults of the class in diffusers 0.42", "Flux3Transformer2DModel"),
    Model(
        "hunyuan-image",
        "hunyuan_image",
        "hunyuanvideo-community/HunyuanImage-2.1-Diffusers transformer/config.json",
        "HunyuanImageTransformer2DModel",
        {"patch_size": (1, 1), "text_embed_2_dim": 1472},
    ),
    Model(
        "hunyuan-video-1.5",
        "hunyuan_video_1.5",
        "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers transformer/config.json",
        "HunyuanVideo15Transformer3DModel",
    ),
    Model("mochi", "mochi", "genmo/mochi-1-preview transformer/config.json", "MochiTransformer3DModel"),
    Model("cogvideox-2b", "cogvideox", "THUDM/CogVideoX-2b transformer/config.json", "CogVideoXTransformer3DModel"),
    Model(
        "cogvideox-5b",
        "cogvideox",
        "THUDM/CogVideoX-5b transformer/config.json",
        "CogVideoXTransformer3DModel",
        {"num_attention_heads": 48, "num_layers": 42},
    ),
    Model("cogview4", "cogview4", "THUDM/CogView4-6B transformer/config.json", "CogView4Transformer2DModel"),
    Model("glm-image", "glm_image", "zai-org/GLM-Image transformer/config.json", "GlmImageTransformer2DModel"),
    Model(
        "sana-1.6b", "sana", "Efficient-Large-Model/Sana_1600M_1024px transformer/config.json", "SanaTransformer2DModel"
    ),
    Model(
        "sana-0.6b",
        "sana",
        "Efficient-Large-Model/Sana_600M_1024px transformer/config.json",
        "SanaTransformer2DModel",
        {
            "num_attention_heads": 36,
            "num_layers": 28,
            "num_cross_attention_heads": 16,
            "cross_attention_head_dim": 72,
            "cross_attention_dim": 1152,
        },
    ),
    Model(
        "hunyuan-dit",
        "hunyuan_dit",
        "Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers transformer/config.json",
        "HunyuanDiT2DModel",
        {
            "num_layers": 40,
            "hidden_size": 1408,
            "in_channels": 4,
            "patch_size": 2,
            "sample_size": 128,
            "mlp_ratio": 4.3637,
            "use_style_cond_and_image_meta_size": False,
        },
    ),
    Model(
        "kandinsky5",
        "kandinsky5",
        "kandinskylab/Kandinsky-5.0-T2V-Lite-sft-5s-Diffusers transformer/config.json",
        "Kandinsky5Transformer3DModel",
        {"in_visual_dim": 16, "out_visual_dim": 16, "model_dim": 1792, "ff_dim": 7168, "time_dim": 512},
    ),
    Model("ernie-image", "ernie_image", "the defaults of the class in diffusers 0.42", "ErnieImageTransformer2DModel"),
    Model(
        "nucleus-image",
        "nucleus_image",
        "the defaults of the class in diffusers 0.42",
        "NucleusMoEImageTransformer2DModel",
    ),
    Model(
        "qwen-image-2.1",
        "qwen_image_2.1",
        "the defaults of the class in diffusers 0.42",
        "QwenImage21Transformer2DModel",
    ),
    Model("krea2", "krea2", "the defaults of the class in diffusers 0.42", "Krea2Transformer2DModel", {}, "krea2"),
    Model(
        "ideogram4",
        "ideogram4",
        "the defaults of the class in diffusers 0.42",
        "Ideogram4Transformer2DModel",
        {},
        "ideogram4",
    ),
    Model("minimax-h3", "minimax_h3", "the defaults of the class in diffusers 0.42", "MiniMaxH3Transformer3DModel"),
    Model("prx", "prx_pixel", "the defaults of the class in diffusers 0.42", "PRXTransformer2DModel"),
    Model(
        "anima",
        "anima",
        "circlestone-labs/Anima: nvidia/Cosmos-Predict2-2B-Text2Image transformer/config.json",
        "CosmosTransformer3DModel",
        {"num_attention_heads": 16, "concat_padding_mask": True, "extra_pos_embed_type": None},
        "cosmos",
    ),
    Model(
        "cosmos2-2b",
        "cosmos_predict2",
        "nvidia/Cosmos-Predict2-2B-Text2Image transformer/config.json",
        "CosmosTransformer3DModel",
        {"num_attention_heads": 16, "concat_padding_mask": True, "extra_pos_embed_type": None},
        "cosmos",
    ),
    Model(
        "cosmos2-14b",
        "cosmos_predict2",
        "nvidia/Cosmos-Predict2-14B-Text2Image transformer/config.json",
        "CosmosTransformer3DModel",
        {"num_attention_heads": 40, "num_layers": 36, "concat_padding_mask": True, "extra_pos_embed_type": None},
        "cosmos",
    ),
)
