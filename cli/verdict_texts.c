/* verdict_texts.c: see verdict_texts.h. */
#include "verdict_texts.h"

const cli_verdict_text cli_verdict_texts[] = {
    {"English",
     "The old man sat down by the window and looked at the rain. He had walked all the way from the village that "
     "morning, and now he was too tired to speak. After a while his daughter came into the room with a cup of tea. "
     "\"You should have waited for us,\" she said. \"We would have come for you in the afternoon.\" He smiled, and "
     "said "
     "that he had wanted to see the river again before the winter.\n"},
    {"German", "Der alte Mann setzte sich ans Fenster und sah in den Regen hinaus. Er war am Morgen den ganzen Weg vom "
               "Dorf zu Fuß "
               "gegangen und war nun zu müde, um zu sprechen. Nach einer Weile kam seine Tochter mit einer Tasse Tee "
               "in das Zimmer. "
               "„Du hättest auf uns warten sollen“, sagte sie. Er lächelte und sagte, er habe den Fluss noch einmal "
               "sehen wollen.\n"},
    {"French",
     "Le vieil homme s'assit près de la fenêtre et regarda la pluie. Il était venu à pied du village ce matin-là, et "
     "il "
     "était maintenant trop fatigué pour parler. Au bout d'un moment, sa fille entra dans la chambre avec une tasse de "
     "thé. « Tu aurais dû nous attendre », dit-elle. Il sourit et répondit qu'il avait voulu revoir la rivière.\n"},
    {"Spanish",
     "El viejo se sentó junto a la ventana y miró la lluvia. Había venido andando desde el pueblo aquella mañana y "
     "ahora "
     "estaba demasiado cansado para hablar. Al cabo de un rato su hija entró en la habitación con una taza de té. "
     "—Tendrías que habernos esperado —dijo ella. Él sonrió y contestó que había querido ver otra vez el río.\n"},
    {"Russian",
     "Старик сел у окна и стал смотреть на дождь. Утром он пришёл пешком из самой деревни и теперь слишком устал, "
     "чтобы "
     "говорить. Через некоторое время в комнату вошла его дочь с чашкой чая. Он улыбнулся и сказал, что хотел ещё раз "
     "увидеть реку до зимы.\n"},
    {"Chinese",
     "老人坐在窗边，看着外面的雨。那天早上他从村子里一路走来，现在累得说不出话。过了一会儿，女儿端着一杯茶走进房间。"
     "“你应该等我们的，”她说，“我们下午会去接你。”他笑了笑，说他想在冬天来临之前再看看那条河。\n"},
    {"code", "#include <stdio.h>\n#include <stdlib.h>\n\nint main(int argc, char **argv) {\n    int sum = 0;\n    for "
             "(int i = 1; "
             "i < argc; i++) {\n        sum += atoi(argv[i]);\n    }\n    printf(\"%d\\n\", sum);\n    return 0;\n}\n"},
};
const size_t cli_verdict_n_texts = sizeof cli_verdict_texts / sizeof cli_verdict_texts[0];
