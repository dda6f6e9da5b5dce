"""Codes of ComfyUI: what people see there when a LoRA is not found or does nothing. A pure table."""

from lorawatch.domain.codes.code import Code

COMFYUI_CODES = (
    Code(
        "comfyui-unreachable",
        "ComfyUI does not answer at comfyui_url. Deliveries go on; whether it lists them is checked later.",
        "Start it, or correct `comfyui_url`: `curl URL/models/loras` must show a list.",
    ),
    Code(
        "comfyui-error",
        "ComfyUI answers at comfyui_url, but with an error, or what answers there is not ComfyUI.",
        "`curl URL/system_stats` must show its version. A missing models directory makes it fail too: see its log.",
    ),
    Code(
        "value-not-in-list",
        '"Value not in list": the workflow names a LoRA that ComfyUI does not find in its directory.',
        "See what it has: `curl http://127.0.0.1:8188/models/loras`. Deliver to that directory, make the file readable"
        " for ComfyUI, and write the name with its subdirectory.",
    ),
    Code(
        "comfyui-not-listed",
        "The file is at the destination, but ComfyUI does not list it: it looks elsewhere, may not read it, or its list"
        " is old.",
        "Compare the directory with ComfyUI's extra_model_paths.yaml, then refresh its list: `touch DIRECTORY`.",
    ),
    Code(
        "comfyui-other-file",
        "ComfyUI lists the name, but with another size or time than the delivered file has: it finds another file of"
        " this name first, or its list is old.",
        "Look for the name in every directory of ComfyUI's extra_model_paths.yaml. Restarting ComfyUI renews its list.",
    ),
    Code(
        "comfyui-unreadable",
        "ComfyUI lists the file, but fails to read it: most likely its user may not.",
        'Set `file_mode = "0664"` or "0644", or let ComfyUI\'s user into the file\'s group.',
    ),
    Code(
        "no-lora-effect",
        "The LoRA loads but changes nothing: it is for another base model, its strength is too low, its trigger word is"
        " missing, or its loader does not stand between checkpoint and sampler.",
        "`lorawatch check FILE` shows family and trigger words, `lorawatch workflow FILE` makes a graph that fits;"
        " use a strength of 0.8 to 1.0. All weights zero is told as zero-effect.",
    ),
    Code(
        "none-type-not-iterable",
        '"NoneType not iterable": an input of the workflow is null, mostly the negative prompt.',
        'Put an empty text there: `"text": ""`. `lorawatch workflow FILE` makes one that is right.',
    ),
    Code(
        "old-weights",
        "ComfyUI keeps using the old weights of a LoRA that was replaced under the same name.",
        "With `comfyui_url` lorawatch has it load them again. By hand:"
        " `curl URL/free -H 'Content-Type: application/json'"
        ' -d \'{"unload_models": true, "free_memory": true}\'`.',
    ),
    Code(
        "no-workflow",
        "There is no ready workflow for this file: none for its family, or its family is not certain.",
        "`lorawatch check FILE` shows what it is. Choose among its candidates with `--family`, or put a LoraLoader"
        " between model and sampler in one of ComfyUI's own templates.",
    ),
    Code(
        "not-a-lora",
        "The file is an embedding, a whole model or something else that no LoRA loader takes.",
        "`lorawatch check FILE` shows what it is. Embeddings are named in the prompt: `embedding:NAME`.",
    ),
    Code(
        "lora-not-found",
        "There is no file at this path, and nothing of this name was delivered.",
        "Give the file's path, or the name that `lorawatch status` shows.",
    ),
    Code(
        "model-missing",
        '"Value not in list" for a base model, text encoder or VAE: ComfyUI does not have the file that is named.',
        "Download it into the directory that is named, or take another one that ComfyUI has with `--model NAME`.",
    ),
    Code(
        "node-missing",
        "ComfyUI does not know a node of the workflow: it is older than the model.",
        "Update ComfyUI: `git pull` in its directory, then restart it.",
    ),
    Code(
        "workflow-refused",
        "ComfyUI does not accept the workflow, for another reason than a missing file or node.",
        "See its words. Mostly its version is too old, or a custom node has changed one of its own: update both.",
    ),
    Code(
        "workflow-failed",
        "ComfyUI took the workflow and failed while it computed it, as when its memory did not suffice.",
        "See its log. If it ran out of memory: a smaller `--size`, or a model of fewer bits with `--model`.",
    ),
)
